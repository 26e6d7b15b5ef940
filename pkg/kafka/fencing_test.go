package kafka

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/event"
)

// A commit that was begun under one generation can be sent under the next, in which
// the partition may be another member's, or this one's by another assignment: kgo
// fills the generation in late. What the earlier assignment settled must be left out.
func TestLateCommitUnderANewerGeneration(t *testing.T) {
	protocols(t, func(t *testing.T, protocol memberOption) {
		c := newCluster(t, 1)
		c.publish(0, numbered(3)...)
		target := newRecorder()
		target.set(closedFor(nil, place{0, 1}, place{0, 2}))
		m := c.join(map[string]*recorder{"target": target}, protocol, commitEach(never), drainFor(0))
		eventually(t, "one settled and two are in flight", func() bool {
			n, _ := target.arrived()
			return n == 1 && len(target.attempts()) == 3
		})
		current := func() *assignment {
			m.Group.mu.Lock()
			defer m.Group.mu.Unlock()
			if a := m.live[partition{topic, 0}]; a != nil && begun(a) {
				return a
			}
			return nil
		}
		earlier := current()
		c.throwOut()
		eventually(t, "there is a new assignment", func() bool {
			a := current()
			return a != nil && a != earlier
		})
		commits := c.observe(kmsg.OffsetCommit)
		commit := func(a *assignment) {
			m.committing.Lock()
			defer m.committing.Unlock()
			asked := 0
			m.send(t.Context(), []*assignment{a}, func(a *assignment) bool {
				asked++ // first when the checkpoint is taken: the rebalance comes after that
				return asked == 1 || m.isLive(a)
			})
		}
		commit(earlier)
		require.Zero(t, commits.Hits())
		commit(current())
		require.Equal(t, 1, commits.Hits(), "that of the new one is sent")
	})
}

// A member that stood still past its session may learn only when it joins again that the
// group has forgotten it. It is taken in under another id, and kgo goes on with what it had
// as if nothing had been. Another member may have had that meanwhile: nothing of it may be
// committed, and it begins anew at what is committed.
func TestForgottenMemberJoinsAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.publish(0, "a")
	target := newRecorder()
	m := c.join(map[string]*recorder{"target": target}, withSession(6*time.Second, time.Second))
	c.settled()
	refused := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.RebalanceInProgress, Count: -1})
	c.publish(0, "b")
	eventually(t, "the second is pushed, and not committed", func() bool { return target.attempts()[place{0, 1}] == 1 && refused.Hits() > 0 })
	earlier, _ := m.member.GroupMetadata()
	m.Group.mu.Lock()
	old := m.live[partition{topic, 0}]
	m.Group.mu.Unlock()
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, TopLevel: true, Err: kerr.UnknownMemberID})
	m.member.ForceRebalance()
	eventually(t, "the member has another id", func() bool {
		id, _ := m.member.GroupMetadata()
		return id != "" && id != earlier && m.Assigned() == 1
	})
	refused.Remove()
	eventually(t, "the second is pushed again", func() bool { return target.attempts()[place{0, 1}] == 2 })
	c.settled()
	require.Contains(t, m.log.String(), "committed=false")
	commits := c.observe(kmsg.OffsetCommit)
	m.commitLast([]*assignment{old})
	require.Zero(t, commits.Hits(), "what was given under the earlier id")
}

// Records that were polled for one assignment never reach the reader of a later one,
// whose gaps settle: what lies between would be lost.
func TestRecordsOfAnEarlierAssignment(t *testing.T) {
	t.Parallel()
	const records, rounds = 2000, 40
	c := newCluster(t, 1)
	c.publish(0, numbered(records)...)
	f := c.feed(1 << 20)
	id := partition{topic, 0}
	topicID := c.idOf(topic)
	for round := range rounds {
		start := int64(round * (records / rounds))
		offsets := make(chan int64, records)
		r := &reader{topicID: topicID, take: func(rs []*event.Record, _, _ int64) bool {
			for _, record := range rs {
				offsets <- record.Offset
			}
			return false
		}}
		f.add(id, r, start, -1)
		next := start
		if round%2 == 0 { // else it is removed at once, with a fetch under way
			eventually(t, "the reader gets records", func() bool { return len(offsets) > 0 })
		}
		f.remove([]partition{id})
		close(offsets) // what is handed over after the release panics
		for offset := range offsets {
			require.Equal(t, next, offset)
			next++
		}
	}
}

// A target that hangs and does not even heed that it was cancelled holds up the
// revoke of one partition; those that the member keeps are read, pushed and
// committed meanwhile, and the member stays one.
func TestHungDrainStopsNoOtherPartition(t *testing.T) {
	protocols(t, func(t *testing.T, protocol memberOption) {
		c := newCluster(t, 2)
		c.publish(0, "hangs")
		c.publish(1, "hangs")
		open := []chan struct{}{make(chan struct{}), make(chan struct{})}
		first, second := newRecorder(), newRecorder()
		first.set(func(_ context.Context, p place) error {
			if p.offset == 0 {
				<-open[p.partition]
			}
			return nil
		})
		session := withSession(12*time.Second, 2*time.Second)
		a := c.join(map[string]*recorder{"target": first}, protocol, session)
		eventually(t, "both are in flight", func() bool { return len(first.attempts()) == 2 })
		b := c.join(map[string]*recorder{"target": second}, protocol, session)
		eventually(t, "a partition is being revoked", func() bool { return a.Assigned() == 1 })

		a.Group.mu.Lock()
		_, keptFirst := a.live[partition{topic, 0}]
		a.Group.mu.Unlock()
		kept, revoked := int32(1), int32(0)
		if keptFirst {
			kept, revoked = 0, 1
		}
		close(open[kept])
		began := time.Now()
		for n := int64(1); time.Since(began) < 13*time.Second; n++ { // longer than a session
			c.publish(kept, "goes on")
			eventually(t, "what was published is committed", func() bool { return c.committed(kept).Offset == n+1 })
		}
		require.Zero(t, b.Assigned(), "the other member waits for the drain")
		require.LessOrEqual(t, c.committed(revoked).Offset, int64(0), "nothing but where it started")
		close(open[revoked])
		eventually(t, "the drain is over", func() bool { return b.Assigned() == 1 })
		c.settled()
		require.Empty(t, second.attempts())
		require.NotContains(t, a.log.String(), "no attempt starts")
	})
}
