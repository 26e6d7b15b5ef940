//go:build !race

package http

import (
	nethttp "net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/bench/allocs"
)

// The number holds what the server and net/http allocate, which is most of it.
func TestAllocations(t *testing.T) {
	srv := httptest.NewServer(nethttp.HandlerFunc(func(nethttp.ResponseWriter, *nethttp.Request) {}))
	t.Cleanup(srv.Close)
	c := newConnector(t, &Config{URL: text(srv.URL), Delete: &Delete{Ignore: true}})
	d := upsertOf("P-1", "title", "Weekend Inspections", "agency", "DOI", "status", "active")
	var err error
	allocs.Check(t, "push by http", testing.AllocsPerRun(1000, func() {
		if err == nil {
			err = c.Prepare(d)
		}
		if err == nil {
			_, err = c.Push(t.Context(), d)
		}
	}))
	require.NoError(t, err)
	require.NoError(t, c.Close(t.Context()))
}
