package demo

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// push sends a scheduler one change and returns its answer.
func push(t *testing.T, s *Scheduler, id, key, version string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/rules", strings.NewReader("{}"))
	r.Header.Set("Idempotency-Key", id)
	r.Header.Set("Policysync-Key", key)
	r.Header.Set("Policysync-Version", version)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

// The books of the scheduler are the demo's proof, so they must find each fault.
func TestSchedulerKeepsBook(t *testing.T) {
	t.Parallel()
	s := NewScheduler()
	for _, p := range []struct{ id, key, version string }{
		{"1", "P-1", "1"},
		{"3", "P-1", "3"},
		{"2", "P-1", "2"}, // after a later one
		{"3", "P-1", "3"}, // once more
		{"4", "P-2", "2"},
		{"5", "P-2", ""}, // a delete
		{"", "", ""},     // a check
	} {
		require.Equal(t, http.StatusNoContent, push(t, s, p.id, p.key, p.version).StatusCode)
	}
	s.Answer(func(*http.Request) (int, string) { return http.StatusTooManyRequests, "7" })
	refused := push(t, s, "6", "P-1", "4")
	require.Equal(t, http.StatusTooManyRequests, refused.StatusCode)
	require.Equal(t, "7", refused.Header.Get("Retry-After"))
	s.Answer(nil)
	require.Empty(t, cmp.Diff(Arrivals{Applied: 5, Repeated: 1, OutOfOrder: 1, Refused: 1}, s.Arrivals()))
	require.Empty(t, cmp.Diff(map[string]int64{"P-1": 3, "P-2": 2}, s.Versions()))
}

// sink takes everything and counts it.
type sink struct {
	connector.OrderedBatch
	pushed int
}

func (s *sink) PushBatch(_ context.Context, ds []*connector.Delivery) []connector.Result {
	s.pushed += len(ds)
	return make([]connector.Result, len(ds))
}

// The sabotage confirms one delivery more than it pushes: a loss that nobody but the
// external system can tell.
func TestSabotageOfABatch(t *testing.T) {
	t.Parallel()
	inner := &sink{}
	ts := tallies{}
	kinds := ts.watch(connector.Registry{"sink": connector.KindOf(
		func(context.Context, *struct{}, connector.Env) (connector.Connector, error) { return inner, nil },
	)}, "target")
	c, err := kinds["sink"].New(t.Context(), new(struct{}), connector.Env{Target: "target"})
	require.NoError(t, err)
	for range 2 {
		require.Len(t, c.(connector.BatchConnector).PushBatch(t.Context(), make([]*connector.Delivery, 3)), 3)
	}
	require.Equal(t, 5, inner.pushed)
	require.EqualValues(t, 6, ts["target"].confirmed.Load())
}

func TestUnknownSabotage(t *testing.T) {
	t.Parallel()
	_, err := Run(t.Context(), Options{Sabotage: "everything", Screen: &Screen{Out: io.Discard}})
	require.ErrorIs(t, err, ErrSabotage)
}
