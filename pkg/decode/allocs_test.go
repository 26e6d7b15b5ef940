//go:build !race

package decode_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/bench/allocs"
	"github.com/hms-sme/policysync/schemas"
)

func TestAllocations(t *testing.T) {
	value := encode(t, schemas.PolicyEvent, policy)
	d := fromFiles(t, schemas.PolicyEvent, "")
	r := record(value)
	var err error
	allocs.Check(t, "decode", testing.AllocsPerRun(1000, func() { _, _, err = d.Decode(t.Context(), r) }))
	require.NoError(t, err)
}
