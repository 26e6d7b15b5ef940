//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A pause holds over kill -9 of every member and over a rebalance; the other target goes
// on, and after resume the paused one gets all that it missed, in order, once.
func TestPauseHoldsOverKillAndRebalance(t *testing.T) {
	const policies = 200
	w := newWorld(t, 4)
	w.patient()
	other, otherURL := scheduler(t)
	w.configure(`
  api: {connector: scheduling, url: "@api/v1/rules", timeout: 10s, window: {deliveries: 50}}
  other: {connector: scheduling, url: "` + otherURL + `/v1/rules", timeout: 10s}
`)
	m := w.start()
	w.publish(policies, 1, 1)
	w.settles(time.Minute)
	w.policysync("pause", "-c", w.file, "--target", "api", "--reason", "e2e")
	require.Contains(t, w.policysync("commands", "-c", w.file), "e2e")
	w.eventually("the member says so", time.Minute, func() bool {
		members := w.status().Members
		return len(members) == 1 && members[0].Targets["api"].Paused
	})
	w.publish(policies, 2, 5)
	w.eventually("the other has them", time.Minute, func() bool { return other.Arrivals().Applied == 5*policies })
	m.kill()
	w.start()
	w.start() // while the group still waits for the one that was killed
	w.publish(policies, 6, 8)
	w.eventually("the other has these too", 2*time.Minute, func() bool { return other.Arrivals().Applied >= 8*policies })
	require.Equal(t, policies, w.api.Arrivals().Applied)

	w.policysync("resume", "-c", w.file, "--target", "api")
	w.settles(time.Minute)
	require.Equal(t, 8*policies, w.api.Arrivals().Applied)
	require.Zero(t, w.api.Arrivals().Repeated)
	require.Zero(t, w.api.Arrivals().OutOfOrder)
	require.Zero(t, other.Arrivals().OutOfOrder)
}
