//go:build e2e

package e2e

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/demo"
)

// scheduler is another scheduling API that keeps book.
func scheduler(t *testing.T) (api *demo.Scheduler, url string) {
	t.Helper()
	api = demo.NewScheduler()
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return api, server.URL
}

// Three members are rolled to a config that adds one target, to be back-filled, and takes
// another out, while events keep coming. The one that stays is not disturbed; the new
// one gets all that ever was; and the other, taken in again, all that it missed.
func TestRollingDeployAddsAndRemovesATarget(t *testing.T) {
	const partitions, policies, history = 6, 500, 20
	w := newWorld(t, partitions)
	w.patient()
	former, formerURL := scheduler(t)
	added, addedURL := scheduler(t)
	line := func(name, url, more string) string {
		return fmt.Sprintf("  %s: {connector: scheduling, url: %q, timeout: 10s, concurrency: 16%s}\n", name, url+"/v1/rules", more)
	}
	stays := line("api", w.url, "")
	w.configure(stays + line("former", formerURL, ""))
	w.publish(policies, 1, history)
	members := make([]*member, 3)
	for i := range members {
		members[i] = w.start(fmt.Sprintf("INSTANCE=pod-%d", i))
	}
	w.settles(2 * time.Minute)
	require.Equal(t, policies*history, former.Arrivals().Applied)

	roll := func(targets string) {
		w.configure(targets)
		for i, m := range members {
			m.stop()
			members[i] = w.start(fmt.Sprintf("INSTANCE=pod-%d", i))
			w.eventually("it is back", time.Minute, func() bool { return members[i].assigned() > 0 })
		}
	}
	published := make(chan struct{})
	const during = 10
	go func() {
		defer close(published)
		for version := history + 1; version <= history+during; version++ {
			w.publish(policies, version, version)
			<-time.After(time.Second) // events come at some pace; nothing waits for this
		}
	}()
	began := time.Now()
	roll(stays + line("added", addedURL, ", start: earliest"))
	rolled := time.Now()
	<-published
	all := policies * (history + during)
	w.eventually("the target that stays has everything", 30*time.Second, func() bool { return w.api.Arrivals().Applied == all })
	kept := time.Now()
	w.eventually("the new one is back-filled", 2*time.Minute, func() bool { return added.Arrivals().Applied == all })
	t.Logf("rolled in %s; the target that stays was done %s after that, the one that is back-filled %s",
		rolled.Sub(began), kept.Sub(rolled), time.Since(rolled))
	for name, api := range map[string]*demo.Scheduler{"api": w.api, "added": added, "former": former} {
		require.Zero(t, api.Arrivals().OutOfOrder, name)
		require.Zero(t, api.Arrivals().Repeated, name)
	}
	missed := former.Arrivals().Applied
	require.Less(t, missed, all)
	require.GreaterOrEqual(t, missed, policies*history)

	roll(stays + line("former", formerURL, ""))
	w.eventually("the former target has what it missed", 2*time.Minute, func() bool { return former.Arrivals().Applied == all })
	require.Zero(t, former.Arrivals().OutOfOrder)
	require.Zero(t, former.Arrivals().Repeated)
	require.Empty(t, w.letters())
	for _, m := range members {
		m.stop()
	}
	// Static members count until their sessions have ended: then one that is gone can be forgotten.
	w.eventually("the group has no members", time.Minute, func() bool { return w.members() == 0 })
	require.Contains(t, w.policysync("targets", "list", "-c", w.file), "added")
	require.Contains(t, w.policysync("targets", "forget", "added", "-c", w.file), "forgotten on 6 partitions")
	require.NotContains(t, w.policysync("targets", "list", "-c", w.file), "added")
}
