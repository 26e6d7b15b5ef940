//go:build e2e

package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A replay whose owner is killed amid it goes on with the next one, and pushes the newest
// version of each policy once; the other target notices nothing but the crash.
func TestReplaySurvivesKillOfItsOwner(t *testing.T) {
	const policies, versions = 300, 3
	w := newWorld(t, 4)
	other, otherURL := scheduler(t)
	w.configure(`
  api: {connector: scheduling, url: "@api/v1/rules", timeout: 2s, rate: {per_second: 150, burst: 1}}
  other: {connector: scheduling, url: "` + otherURL + `/v1/rules", timeout: 2s}
`)
	m := w.start()
	w.publish(policies, 1, versions)
	w.settles(time.Minute)
	before := w.api.Arrivals().Applied
	require.Equal(t, policies*versions, other.Arrivals().Applied)

	replay := exec.CommandContext(t.Context(), filepath.Join(bin, "policysync"), "replay", "-c", w.file, "--target", "api", "--from", "earliest")
	var out tail
	replay.Stdout, replay.Stderr = &out, &out
	require.NoError(t, replay.Start())
	w.eventually("the replay pushes", time.Minute, func() bool { return w.api.Arrivals().Applied > before+20 })
	m.kill()
	w.start()
	require.NoError(t, replay.Wait(), "%s", &out)
	// A replayed push has an idempotency key of its own, so it counts as another delivery;
	// what the crash repeats has not.
	require.Equal(t, before+policies, w.api.Arrivals().Applied, "each policy is replayed, and once")
	w.publish(policies, versions+1, versions+1)
	w.settles(time.Minute)
	require.Zero(t, w.api.Arrivals().OutOfOrder)
	require.Zero(t, other.Arrivals().OutOfOrder)
	require.Equal(t, policies*(versions+1), other.Arrivals().Applied)
	t.Logf("repeated by the crash: %d to the target that is replayed, %d to the other", w.api.Arrivals().Repeated, other.Arrivals().Repeated)
	require.NotContains(t, w.policysync("commands", "-c", w.file), "replay")
}
