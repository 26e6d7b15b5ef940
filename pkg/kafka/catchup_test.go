package kafka

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A target that takes nothing holds back nobody; then it gets all that it missed, in
// order and once, by a feed of its own that is closed in the end.
func TestSlowTargetCatchesUp(t *testing.T) {
	t.Parallel()
	const partitions, records = 3, 200
	for _, row := range []struct {
		name string
		// meanwhile happens while the slow target is behind.
		meanwhile func(c *cluster, m *member)
	}{
		{"and nothing else happens", func(*cluster, *member) {}},
		{"after its partitions were lost and came back", func(c *cluster, m *member) {
			fetches := c.observe(kmsg.OffsetFetch)
			c.throwOut()
			require.NoError(c.t, fetches.Wait(c.t.Context(), 1))
			eventually(c.t, "assigned again", func() bool { return m.Assigned() == partitions })
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, partitions)
			fast, slow, open := newRecorder(), newRecorder(), make(chan struct{})
			closed := make([]place, partitions)
			for p := range int32(partitions) {
				c.publish(p, numbered(records)...)
				closed[p] = place{p, 0}
			}
			slow.set(closedFor(open, closed...))
			m := c.join(map[string]*recorder{"fast": fast, "slow": slow}, withWindow(5))
			eventually(t, "the fast target has all", func() bool { n, _ := fast.arrived(); return n == partitions*records })
			eventually(t, "that is recorded", func() bool {
				for p := range int32(partitions) {
					if c.committed(p).Offset != 0 {
						return false
					}
				}
				return true
			})
			behind, _ := slow.arrived()
			require.LessOrEqual(t, behind, partitions*5*2, "of three keys, one fills the window")
			row.meanwhile(c, m)
			close(open)
			c.settled()
			for _, r := range []*recorder{fast, slow} {
				n, repeated := r.arrived()
				require.Equal(t, partitions*records, n)
				require.LessOrEqual(t, repeated, partitions*5, "repeats are of what was in flight, or settled since the last commit")
				r.inOrder(t)
			}
			eventually(t, "no catch-up feed is left", func() bool {
				feeds := m.engine.Feeds.(*CatchUps)
				feeds.mu.Lock()
				defer feeds.mu.Unlock()
				return len(feeds.clients) == 0
			})
		})
	}
}
