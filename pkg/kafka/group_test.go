package kafka

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/event"
)

// protocols runs a test under both group protocols.
func protocols(t *testing.T, f func(t *testing.T, protocol memberOption)) {
	t.Parallel()
	for _, p := range []string{"classic", "consumer"} {
		t.Run(p, func(t *testing.T) {
			t.Parallel()
			f(t, withProtocol(p))
		})
	}
}

func TestGroupCommitsTheCursorsOfAllTargets(t *testing.T) {
	protocols(t, func(t *testing.T, protocol memberOption) {
		c := newCluster(t, 2)
		c.publish(0, numbered(40)...)
		c.publish(1, numbered(30)...)
		open := make(chan struct{})
		fast, slow := newRecorder(), newRecorder()
		slow.set(closedFor(open, place{0, 10}))
		c.join(map[string]*recorder{"fast": fast, "slow": slow}, protocol)

		held := func() map[string]int64 {
			commit := c.committed(0)
			if commit.Offset < 0 {
				return nil
			}
			cp, err := checkpoint.Decode(commit.Metadata, commit.Offset, event.TopicID(c.TopicInfo(topic).TopicID))
			require.NoError(t, err)
			next := map[string]int64{}
			for _, l := range cp.Lanes {
				next[l.Name] = l.Cursor.Next()
			}
			return next
		}
		eventually(t, "one target waits at its lowest offset and the other is done", func() bool {
			next := held()
			return next["fast"] == 40 && next["slow"] == 10
		})
		require.EqualValues(t, 10, c.committed(0).Offset, "the committed offset is the lowest cursor")
		close(open)
		c.settled()
		for _, r := range []*recorder{fast, slow} {
			n, repeated := r.arrived()
			require.Equal(t, []int{70, 0}, []int{n, repeated})
			r.inOrder(t)
		}
	})
}

func TestRestartPushesOnlyWhatHadNotSettled(t *testing.T) {
	protocols(t, func(t *testing.T, protocol memberOption) {
		c := newCluster(t, 1)
		c.publish(0, numbered(30)...)
		fast, slow := newRecorder(), newRecorder()
		targets := map[string]*recorder{"fast": fast, "slow": slow}
		slow.set(closedFor(nil, place{0, 4}))
		first := c.join(targets, protocol, drainFor(0), commitEach(never))
		// Of the keys of 4, 7, 10 … nothing settles; of the others all does.
		eventually(t, "all that can settle has", func() bool {
			n, _ := fast.arrived()
			m, _ := slow.arrived()
			return n == 30 && m == 21
		})
		first.Stop(false)
		require.EqualValues(t, 4, c.committed(0).Offset)

		slow.set(nil)
		c.join(targets, protocol)
		c.settled()
		for _, r := range []*recorder{fast, slow} {
			n, repeated := r.arrived()
			require.Equal(t, []int{30, 0}, []int{n, repeated})
		}
		want := map[place]int{}
		for offset := range int64(30) {
			want[place{0, offset}] = 1
		}
		require.Equal(t, want, fast.attempts())
		want[place{0, 4}] = 2 // it was in flight when the first member stopped
		require.Equal(t, want, slow.attempts())
	})
}

func TestPartitionsMoveWithoutLossOrRepeat(t *testing.T) {
	protocols(t, func(t *testing.T, protocol memberOption) {
		const partitions, each = 6, 50
		c := newCluster(t, partitions)
		target := newRecorder()
		targets := map[string]*recorder{"target": target}
		publish := func() {
			var wg sync.WaitGroup
			for p := range int32(partitions) {
				wg.Go(func() { c.publish(p, numbered(each)...) })
			}
			wg.Wait()
		}
		publish()
		first := c.join(targets, protocol)
		eventually(t, "the first member has all", func() bool { return first.Assigned() == partitions })
		second := c.join(targets, protocol)
		publish()
		eventually(t, "the second member has its share", func() bool {
			return first.Assigned() == partitions/2 && second.Assigned() == partitions/2
		})
		publish()
		first.Stop(false)
		publish()
		eventually(t, "the second member has all", func() bool { return second.Assigned() == partitions })
		c.settled()
		n, repeated := target.arrived()
		require.Equal(t, []int{4 * partitions * each, 0}, []int{n, repeated})
		target.inOrder(t)
	})
}

// A revoke waits for the attempt in flight and commits it, so that the next member
// does not push it again; a member that was thrown out must commit nothing, since
// another may have the partition already.
func TestRevokeDrainsAndLostDoesNot(t *testing.T) {
	t.Run("revoked", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t, 2)
		c.publish(0, "a")
		c.publish(1, "b")
		open := make(chan struct{})
		first, second := newRecorder(), newRecorder()
		first.set(closedFor(open, place{0, 0}, place{1, 0}))
		a := c.join(map[string]*recorder{"target": first}, commitEach(never))
		eventually(t, "both are in flight", func() bool { return len(first.attempts()) == 2 })

		b := c.join(map[string]*recorder{"target": second})
		eventually(t, "a partition is being revoked", func() bool { return a.Assigned() == 1 })
		require.Nil(t, c.GroupInfo(group).Commits[topic], "nothing has settled")
		close(open)
		eventually(t, "the other member has it", func() bool { return b.Assigned() == 1 })
		eventually(t, "the revoke committed", func() bool { return c.committed(0).Offset == 1 || c.committed(1).Offset == 1 })
		a.Stop(false)
		c.settled()
		require.Empty(t, second.attempts())
	})
	t.Run("lost", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t, 1)
		c.publish(0, numbered(3)...) // three keys: the first settles
		target := newRecorder()
		target.set(closedFor(nil, place{0, 1}, place{0, 2}))
		m := c.join(map[string]*recorder{"target": target}, commitEach(never))
		eventually(t, "one settled and two are in flight", func() bool {
			n, _ := target.arrived()
			return n == 1 && len(target.attempts()) == 3
		})
		commits := c.observe(kmsg.OffsetCommit)
		target.set(nil)
		c.throwOut()
		eventually(t, "all is pushed again, by the same member", func() bool {
			n, repeated := target.arrived()
			return n == 3 && repeated == 1
		})
		require.Zero(t, commits.Hits(), "commits")
		m.Stop(false)
		require.EqualValues(t, 3, c.committed(0).Offset)
	})
}

func TestStop(t *testing.T) {
	t.Parallel()
	t.Run("many times, before anything is assigned", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t, 1)
		m := c.join(map[string]*recorder{"target": newRecorder()})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { m.Stop(false) })
		}
		wg.Wait()
		require.Zero(t, m.Assigned())
	})
	t.Run("an attempt that outlasts the drain stays uncommitted", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t, 1)
		c.publish(0, "settles", "hangs")
		target := newRecorder()
		target.set(closedFor(nil, place{0, 1}))
		m := c.join(map[string]*recorder{"target": target}, drainFor(0), commitEach(never))
		eventually(t, "one settled, one in flight", func() bool {
			n, _ := target.arrived()
			return n == 1 && len(target.attempts()) == 2
		})
		m.Stop(false)
		require.EqualValues(t, 1, c.committed(0).Offset)
	})
	for _, leave := range []bool{false, true} {
		t.Run(fmt.Sprintf("a static member, leave %v", leave), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 1)
			m := c.join(map[string]*recorder{"target": newRecorder()}, withInstance("pod-0"))
			eventually(t, "assigned", func() bool { return m.Assigned() == 1 })
			m.Stop(leave)
			members := len(c.GroupInfo(group).Members)
			require.Equal(t, leave, members == 0, "%d members are left", members)
		})
		// Kafka refuses a static member's farewell without its instance id.
		t.Run(fmt.Sprintf("a static member of KIP-848, leave %v", leave), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 1)
			m := c.join(map[string]*recorder{"target": newRecorder()}, withInstance("pod-0"), withProtocol("consumer"))
			eventually(t, "assigned", func() bool { return m.Assigned() == 1 })
			epoch := int32(-2)
			if leave {
				epoch = -1
			}
			farewells := c.Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat}, Observe: true, TopLevel: true, Count: -1,
				When: func(r kmsg.Request) bool {
					beat := r.(*kmsg.ConsumerGroupHeartbeatRequest)
					return beat.MemberEpoch == epoch && beat.InstanceID != nil && *beat.InstanceID == "pod-0"
				},
			})
			m.Stop(leave)
			require.Equal(t, 1, farewells.Hits())
		})
	}
}

// A partition whose commit the group can't tell at first, as when a right is missing for
// a while, is read once it can, from the commit on.
func TestCommittedOffsetComesLate(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	c.publish(0, numbered(5)...)
	c.publish(1, numbered(5)...)
	m := c.join(map[string]*recorder{"target": newRecorder()})
	c.settled()
	m.Stop(false)
	fault := c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: topic, Partitions: []int32{0}, Err: kerr.TopicAuthorizationFailed, Count: 2,
	})
	target := newRecorder()
	m = c.join(map[string]*recorder{"target": target})
	eventually(t, "it asks again", func() bool { return fault.Hits() == 2 })
	c.publish(0, numbered(5)...)
	c.settled()
	n, repeated := target.arrived()
	require.Equal(t, []int{5, 0}, []int{n, repeated})
	require.Contains(t, m.log.String(), "fetch the committed offset of an assigned partition; trying again")
}

// kgo does not ask again for an offset that an answer lacks.
func TestCommittedOffsetIsMissingInTheAnswer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.publish(0, "a")
	target := newRecorder()
	m := c.join(map[string]*recorder{"target": target})
	c.settled()
	m.assigned(t.Context(), m.member, map[string][]int32{topic: {0}})
	require.NoError(t, m.fetched(t.Context(), m.member, &kmsg.OffsetFetchResponse{}))
	c.publish(0, "b")
	c.settled()
	n, repeated := target.arrived()
	require.Equal(t, []int{2, 0}, []int{n, repeated})
}
