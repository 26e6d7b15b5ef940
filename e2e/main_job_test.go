//go:build e2e

package e2e

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// 100,000 events of 10,000 policies in 8 partitions reach an API, a database and a
// warehouse, with one of two members killed in the middle: nothing is lost, every
// version came to the API in order, and the repeats are few.
func TestHundredThousandEventsSurviveAKill(t *testing.T) {
	const policies, versions = 10_000, 10
	w := newWorld(t, 8)
	w.configure(three)
	w.publish(policies, 1, versions)
	began := time.Now()
	first, second := w.start(), w.start()
	w.eventually("a third has arrived", 2*time.Minute, func() bool { return w.api.Arrivals().Applied > policies*versions/3 })
	first.kill()
	killed := w.api.Arrivals()
	require.Less(t, killed.Applied, policies*versions, "there is something left to lose")
	third := w.start()
	w.settles(4 * time.Minute)
	took := time.Since(began)
	require.Empty(t, w.check(policies, versions))
	arrived := w.api.Arrivals()
	t.Logf("%d events to three targets in %s: %.0f events/s with a kill and a session timeout of 6 s on the way",
		policies*versions, took.Round(time.Second), float64(policies*versions)/took.Seconds())
	t.Logf("repeats at the API: %d before the kill, %d in all; concurrency 64, checkpoint.every 250 per partition, 4 partitions moved",
		killed.Repeated, arrived.Repeated)
	// TestKillDuringAnOutage holds the repeats against their bounds.
	require.Less(t, arrived.Repeated, killed.Applied, "the commits before the kill are of no use")
	require.Empty(t, w.letters())
	second.stop()
	third.stop()
}

// The check above is worth something only if it finds what it is for: events that
// the API never got. The same binary without a fault is the proof that the fault,
// and not the way it is planted, is what the check finds.
func TestCheckFindsPlantedFaults(t *testing.T) {
	for fault, lost := range map[string]bool{"none": false, "skip-one": true, "commit-before-push": true} {
		t.Run(fault, func(t *testing.T) {
			const policies, versions = 1000, 10
			w := newWorld(t, 4)
			w.configure(three)
			w.publish(policies, 1, versions)
			m := w.startProgram("sabotage", []string{"-fault", fault}, nil)
			w.eventually("a third has arrived", time.Minute, func() bool { return w.api.Arrivals().Applied > policies*versions/3 })
			m.kill()
			w.start()
			w.settles(2 * time.Minute)
			findings := w.check(policies, versions)
			t.Log(findings)
			if lost {
				require.NotEmpty(t, findings)
				// What was not committed when the member died is repeated, and comes too late.
				require.Regexp(t, `^api: \d+ (of 10000 events arrived|events arrived after a later one of their policy)$`, findings[0])
			} else {
				require.Empty(t, findings)
			}
		})
	}
}

// Kafka's own tool replays everything: the metadata is gone, so every target starts
// at the offset that was set. The idempotency keys are those of the first time.
func TestOffsetResetReplaysEverything(t *testing.T) {
	const policies, versions = 200, 5
	w := newWorld(t, 4)
	w.configure(three)
	w.publish(policies, 1, versions)
	m := w.start()
	w.settles(time.Minute)
	m.stop()
	require.Zero(t, w.api.Arrivals().Repeated)

	out, err := exec.Command("servers/kafka.sh", "groups", "--group", w.topic, "--topic", w.topic,
		"--reset-offsets", "--to-earliest", "--execute").CombinedOutput()
	require.NoError(t, err, "%s", out)
	w.start()
	w.eventually("everything came again", time.Minute, func() bool { return w.api.Arrivals().Repeated == policies*versions })
	w.settles(time.Minute)
	require.Empty(t, w.check(policies, versions))
}

// A rolling restart of static members loses nothing, repeats nothing, and moves no
// partition.
func TestRollingRestartRepeatsNothing(t *testing.T) {
	const policies, versions = 1000, 10
	w := newWorld(t, 8)
	w.configure(three)
	a := w.start("INSTANCE=a")
	w.eventually("the first has all", 30*time.Second, func() bool { return a.assigned() == 8 })
	b := w.start("INSTANCE=b")
	w.eventually("the second has its share", 30*time.Second, func() bool { return b.assigned() == 4 })
	w.publish(policies, 1, versions/2)
	w.eventually("some have arrived", time.Minute, func() bool { return w.api.Arrivals().Applied > policies })
	a.stop()
	require.Equal(t, 2, w.members(), "the group waits for the first")
	a = w.start("INSTANCE=a")
	w.publish(policies, versions/2+1, versions)
	w.eventually("the first has its share back", 30*time.Second, func() bool { return a.assigned() == 4 })
	require.Equal(t, 4, b.assigned(), "the second took nothing over")
	b.stop()
	require.Equal(t, 2, w.members(), "the group waits for the second")
	b = w.start("INSTANCE=b")
	w.settles(2 * time.Minute)
	require.Empty(t, w.check(policies, versions))
	require.Zero(t, w.api.Arrivals().Repeated)
	require.Equal(t, []int{4, 4}, []int{a.assigned(), b.assigned()})
	a.stop()
	b.stop()
}
