//go:build e2e

package e2e

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/demo"
)

// answering is a scheduling API that needs 5 ms for an answer.
func answering(t *testing.T) (*demo.Scheduler, string) {
	t.Helper()
	s := demo.NewScheduler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-time.After(5 * time.Millisecond)
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return s, server.URL
}

// flow writes perSecond events a second, from the given number on, of so many policies
// in turn, for so long. It returns the number of the next.
func (w *world) flow(next, policies, perSecond int, length time.Duration) int {
	w.t.Helper()
	var failed atomic.Pointer[error]
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for end := time.Now().Add(length); time.Now().Before(end); next++ {
		<-tick.C
		k := key(next % policies)
		w.kafka.Produce(w.t.Context(), &kgo.Record{Key: []byte(k), Value: w.enc.event(w.t, k, 1+next/policies)}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	require.NoError(w.t, w.kafka.Flush(w.t.Context()))
	require.Nil(w.t, failed.Load())
	return next
}

// 500 events/s for two targets that need 5 ms, one of which answers 503 for 30 s: the
// other gets everything when it is due and nothing twice, and this one the rest
// afterwards, in order.
func TestOutageOfHalfAMinute(t *testing.T) {
	w := newWorld(t, 4)
	w.patient()
	ill, url := answering(t)
	healthy, other := answering(t)
	w.configure(`
  healthy: {connector: scheduling, url: "` + other + `/v1/rules", timeout: 10s}
  ill: {connector: scheduling, url: "` + url + `/v1/rules", timeout: 10s, breaker: {open_for: 500ms, open_max: 2s}}
`)
	m := w.start()
	events := w.flow(0, 1000, 500, 5*time.Second)
	ill.Answer(func(*http.Request) (int, string) { return http.StatusServiceUnavailable, "" })
	events = w.flow(events, 1000, 500, 30*time.Second)
	due := time.Now()
	w.eventually("the healthy target has all that is due", time.Minute, func() bool { return healthy.Arrivals().Applied == events })
	behind := time.Since(due)
	ill.Answer(nil)
	healed := time.Now()
	w.eventually("the other has caught up", time.Minute, func() bool { return ill.Arrivals().Applied == events })
	t.Logf("%d events; healthy target done %s after the last was written; the other caught up %s after its outage, %d requests refused meanwhile",
		events, behind.Round(time.Millisecond), time.Since(healed).Round(time.Millisecond), ill.Arrivals().Refused)
	w.settles(time.Minute)
	for _, s := range []*demo.Scheduler{healthy, ill} {
		require.Zero(t, s.Arrivals().Repeated)
		require.Zero(t, s.Arrivals().OutOfOrder)
	}
	require.Empty(t, w.letters())
	m.stop()
}

// 15,000 events of 200 keys, while every tenth request is answered 503: no order is
// broken and nothing ends in the dead letters.
func TestEveryTenthRequestFails(t *testing.T) {
	const policies, versions = 200, 75
	w := newWorld(t, 4)
	w.patient()
	api, url := answering(t)
	w.configure(`
  api: {connector: scheduling, url: "` + url + `/v1/rules", timeout: 10s}
`)
	w.publish(policies, 1, versions)
	var requests atomic.Int64
	api.Answer(func(*http.Request) (int, string) {
		if requests.Add(1)%10 == 0 {
			return http.StatusServiceUnavailable, ""
		}
		return 0, ""
	})
	began := time.Now()
	m := w.start()
	w.eventually("everything has arrived", 3*time.Minute, func() bool { return api.Arrivals().Applied == policies*versions })
	t.Logf("%d events of %d keys in %s, %d requests failed", policies*versions, policies, time.Since(began).Round(100*time.Millisecond), api.Arrivals().Refused)
	require.Zero(t, api.Arrivals().OutOfOrder)
	require.Zero(t, api.Arrivals().Repeated)
	w.settles(time.Minute)
	require.Empty(t, w.letters())
	m.stop()
}
