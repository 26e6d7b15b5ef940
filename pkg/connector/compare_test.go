package connector_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// What can't be asked for is no policy that the target holds as it should: the first error
// ends the comparison, and names its policy.
func TestCompareEach(t *testing.T) {
	t.Parallel()
	var ds []*connector.Delivery
	for _, key := range []string{"P-1", "P-2", "P-3"} {
		ds = append(ds, &connector.Delivery{Key: key})
	}
	away := errors.New("connection refused")
	ask := func(broken, panics string) ([]connector.Comparison, error) {
		return connector.CompareEach(t.Context(), ds, func(_ context.Context, d *connector.Delivery) (connector.Comparison, error) {
			switch d.Key {
			case broken:
				return connector.Comparison{}, away
			case panics:
				panic("index out of range")
			}
			return connector.Comparison{Names: []string{d.Key}}, nil
		})
	}
	found, err := ask("", "")
	require.NoError(t, err)
	require.Equal(t, []connector.Comparison{{Names: []string{"P-1"}}, {Names: []string{"P-2"}}, {Names: []string{"P-3"}}}, found)
	_, err = ask("P-2", "")
	require.ErrorIs(t, err, away)
	require.ErrorContains(t, err, `policy "P-2"`)
	_, err = ask("", "P-3")
	require.ErrorContains(t, err, `policy "P-3": panicked: index out of range`)
}
