//go:build e2e

package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/demo"
)

// A target that is down holds back nobody: not while its backlog outgrows its window
// many times, and not after a restart. When it is back it catches up, in order.
func TestDownTargetHoldsBackNobody(t *testing.T) {
	const policies, versions = 5000, 10
	w := newWorld(t, 4)
	port := freePort(t)
	w.patient()
	w.configure(`
  api: {connector: scheduling, url: "@api/v1/rules", timeout: 10s, concurrency: 64}
  down:
    connector: scheduling
    url: "http://` + port + `/v1/rules"
    timeout: 10s
    concurrency: 64
    window: {deliveries: 500}
    breaker: {open_for: 500ms, open_max: 1s}
`)
	w.publish(policies, 1, versions-1)
	m := w.start()
	w.eventually("the healthy target has everything", 2*time.Minute, func() bool {
		return w.api.Arrivals().Applied == policies*(versions-1)
	})
	m.stop()
	m = w.start()
	w.publish(policies, versions, versions)
	w.eventually("after a restart it does not wait for the other's backlog", 30*time.Second, func() bool {
		return w.api.Arrivals().Applied == policies*versions
	})
	require.Zero(t, w.api.Arrivals().Repeated)

	late := demo.NewScheduler()
	l, err := net.Listen("tcp", port)
	require.NoError(t, err)
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: late}}
	began := time.Now()
	server.Start()
	t.Cleanup(server.Close)
	w.settles(2 * time.Minute)
	t.Logf("caught up with %d events in %s", policies*versions, time.Since(began).Round(100*time.Millisecond))
	require.Equal(t, policies*versions, late.Arrivals().Applied)
	require.Zero(t, late.Arrivals().OutOfOrder)
	require.Zero(t, late.Arrivals().Repeated)
	require.Empty(t, w.letters())
	m.stop()
}
