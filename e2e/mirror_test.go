//go:build e2e

package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/hms-sme/policysync/pkg/demo"
)

// Tools that mirror a cluster copy a commit's metadata beside an offset that they
// translate. The cursors in it are those of another log: every target starts at the
// committed offset, loudly, and nothing is lost.
func TestMirroredCommitStartsAllAtItsOffset(t *testing.T) {
	const policies, copied = 100, 40
	// The metadata to be copied: one target has everything, one has nothing.
	w := newWorld(t, 1)
	port := freePort(t)
	targets := `
  api: {connector: scheduling, url: "@api/v1/rules", timeout: 2s}
  down: {connector: scheduling, url: "http://` + port + `/v1/rules", timeout: 2s, breaker: {open_for: 500ms, open_max: 1s}}
`
	w.configure(targets)
	w.publish(policies, 1, 1)
	m := w.start()
	w.eventually("one target has all", 30*time.Second, func() bool { return w.api.Arrivals().Applied == policies })
	w.eventually("which is committed", 30*time.Second, func() bool { targets := w.status().Targets; return len(targets) > 0 && targets[0].Lag == 0 })
	m.stop()
	offsets, err := w.adm.FetchOffsets(t.Context(), w.topic)
	require.NoError(t, err)
	commit, ok := offsets.Lookup(w.topic, 0)
	require.True(t, ok)
	require.Zero(t, commit.At)

	late := demo.NewScheduler()
	l, err := net.Listen("tcp", port)
	require.NoError(t, err)
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: late}}
	server.Start()
	t.Cleanup(server.Close)
	starts := func(t *testing.T, w *world, at int64) {
		t.Helper()
		before := late.Arrivals()
		commits := kadm.Offsets{}
		commits.Add(kadm.Offset{Topic: w.topic, At: at, LeaderEpoch: -1, Metadata: commit.Metadata})
		require.NoError(t, w.adm.CommitAllOffsets(t.Context(), w.topic, commits))
		m := w.start()
		w.settles(time.Minute)
		require.Equal(t, policies-int(at), late.Arrivals().Applied-before.Applied)
		require.Equal(t, 1, strings.Count(m.log.String(), "cursors are not usable"))
		m.stop()
	}
	t.Run("another topic", func(t *testing.T) {
		other := newWorld(t, 1)
		other.configure(targets)
		other.publish(policies, 1, 1)
		starts(t, other, 0) // the same offset: only the topic's id tells
		require.Equal(t, policies, other.api.Arrivals().Applied)
	})
	t.Run("another offset", func(t *testing.T) {
		starts(t, w, copied)
		require.Equal(t, policies-copied, w.api.Arrivals().Repeated)
	})
}
