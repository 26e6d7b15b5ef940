package kafka

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// restarts has the partition begin again, as after an unclean election, and waits until
// the member knows.
func (c *cluster) restarts(m *member) {
	c.t.Helper()
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.OffsetOutOfRange})
	eventually(c.t, "it is noticed", func() bool { return strings.Contains(m.log.String(), "the log is not the one that was read") })
}

// releasing begins to release partition 0, and returns what is closed once that is done.
func (c *cluster) releasing(m *member, release func(*member)) <-chan struct{} {
	c.t.Helper()
	released := make(chan struct{})
	go func() {
		defer close(released)
		release(m)
	}()
	eventually(c.t, "it is being released", func() bool { return m.Assigned() == 0 })
	return released
}

func revoke(m *member) { m.release(map[string][]int32{topic: {0}}, true) }

// What settled until a partition is released is committed also when its log is just being
// begun again: else the next owner would push it once more.
func TestReleaseDuringARestartCommits(t *testing.T) {
	t.Parallel()
	for name, release := range map[string]func(*member){"revoke": revoke, "stop": func(m *member) { m.Stop(false) }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 1)
			c.publish(0, "a", "b")
			target, open := newRecorder(), make(chan struct{})
			target.set(closedFor(open, place{0, 1}))
			m := c.join(map[string]*recorder{"target": target}, commitEach(never))
			eventually(t, "one has arrived, one is in flight", func() bool {
				n, _ := target.arrived()
				return n == 1 && len(target.attempts()) == 2
			})
			c.restarts(m)
			released := c.releasing(m, release)
			close(open)
			<-released
			require.EqualValues(t, 2, c.committed(0).Offset)
		})
	}
}

// A restart tries to commit until it has. If the partition is released first, its last
// commit is for the revoke.
func TestReleaseCommitsWhatARestartCouldNot(t *testing.T) {
	t.Parallel()
	c, m, _ := oneUncommitted(t)
	refusals := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.RebalanceInProgress, Count: -1})
	c.restarts(m)
	require.NoError(t, refusals.Wait(t.Context(), 1))
	released := c.releasing(m, revoke)
	refusals.Remove()
	<-released
	require.EqualValues(t, 1, c.committed(0).Offset)
}

// Cursors that can't be encoded are not committed, and a restart begins with what is: here
// nothing, as a new group does.
func TestRestartWithoutACommit(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.publish(0, "a")
	target := newRecorder()
	m := c.join(map[string]*recorder{strings.Repeat("long", 1024): target})
	eventually(t, "it is not committed", func() bool { return strings.Contains(m.log.String(), "encode checkpoint; nothing is committed") })
	eventually(t, "it arrived", func() bool { n, _ := target.arrived(); return n == 1 })
	c.restarts(m)
	eventually(t, "it comes again", func() bool { _, repeated := target.arrived(); return repeated == 1 })
	require.EqualValues(t, -1, c.committed(0).Offset)
}

// A partition that the group gives again without having revoked it is committed first: the
// new assignment begins with what the old one settled.
func TestAssignedAgainWithoutARevoke(t *testing.T) {
	t.Parallel()
	c, m, _ := oneUncommitted(t)
	m.assigned(t.Context(), m.member, map[string][]int32{topic: {0}})
	require.EqualValues(t, 1, c.committed(0).Offset)
}
