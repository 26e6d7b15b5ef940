package kafka

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/delivery"
	"github.com/hms-sme/policysync/pkg/event"
)

func withStart(at delivery.Start) memberOption {
	return func(_ *GroupConfig, _ *Config, s *delivery.Settings) { s.Start = at }
}

// dated publishes one record with a time of its own.
func (c *cluster) dated(partition int32, at time.Time) {
	c.t.Helper()
	require.NoError(c.t, c.writer.ProduceSync(c.t.Context(), &kgo.Record{
		Topic: topic, Partition: partition, Key: []byte("k"), Value: []byte("v"), Timestamp: at,
	}).FirstErr())
}

// The broker looks the time up. A partition that comes later is read from its beginning.
func TestStartAtATime(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for hours := -2; hours < 2; hours++ {
		c.dated(0, day.Add(time.Duration(hours)*time.Hour))
	}
	c.dated(1, day.Add(-time.Hour)) // nothing is newer: the end
	target := newRecorder()
	targets := map[string]*recorder{"target": target}
	m := c.join(targets, withStart(delivery.Start{At: day}))
	c.settled()
	require.Equal(t, map[place]int{{0, 2}: 1, {0, 3}: 1}, target.attempts())
	m.Stop(false)

	_, err := c.admin().adm.CreatePartitions(t.Context(), 1, topic)
	require.NoError(t, err)
	c.writer.PurgeTopicsFromProducing(topic)
	c.dated(2, day.Add(-time.Hour))
	m = c.join(targets, withStart(delivery.Start{At: day}))
	c.settled()
	require.Equal(t, map[place]int{{0, 2}: 1, {0, 3}: 1, {2, 0}: 1}, target.attempts())
	require.Contains(t, m.log.String(), "this partition is new to the group")
}

// A partition that a topic gains is read while the group goes on, from its beginning.
func TestAddedPartitionIsRead(t *testing.T) {
	protocols(t, func(t *testing.T, protocol memberOption) {
		c := newCluster(t, 1)
		c.publish(0, "a")
		target := newRecorder()
		c.join(map[string]*recorder{"target": target}, protocol)
		c.settled()
		_, err := c.admin().adm.CreatePartitions(t.Context(), 1, topic)
		require.NoError(t, err)
		c.writer.PurgeTopicsFromProducing(topic)
		c.publish(1, "b", "c")
		eventually(t, "the new partition is read", func() bool { n, _ := target.arrived(); return n == 3 })
	})
}

// A leader that is away keeps the member from its own partitions alone.
func TestAssignmentAsksTheLeaderOfThePartitionAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	c.publish(0, "a", "b")
	c.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		for _, asked := range r.(*kmsg.ListOffsetsRequest).Topics {
			for _, p := range asked.Partitions {
				if asked.Topic == topic && p.Partition == 1 {
					return nil, errors.New("the leader of partition 1 is away"), true
				}
			}
		}
		return nil, nil, false
	})
	target := newRecorder()
	c.join(map[string]*recorder{"target": target})
	eventually(t, "partition 0 is read", func() bool { n, _ := target.arrived(); return n == 2 })
}

// A target that is new to a group is back-filled while the others go on.
func TestNewTargetIsBackFilled(t *testing.T) {
	protocols(t, func(t *testing.T, protocol memberOption) {
		c := newCluster(t, 2)
		c.publish(0, numbered(300)...)
		c.publish(1, numbered(200)...)
		old := newRecorder()
		first := c.join(map[string]*recorder{"old": old}, protocol)
		c.settled()
		first.Stop(false)
		late, filled := newRecorder(), newRecorder()
		require.NoError(t, c.DeleteRecords(topic, 0, 20))
		open := make(chan struct{})
		filled.set(closedFor(open, place{0, 20}, place{1, 0}))
		targets := map[string]*recorder{"old": old, "late": late, "filled": filled}
		c.join(targets, protocol, withWindow(20), func(_ *GroupConfig, _ *Config, s *delivery.Settings) {
			s.Start.Earliest = true
		})
		c.publish(0, numbered(50)...)
		eventually(t, "the others go on", func() bool { n, _ := old.arrived(); return n == 550 })
		close(open)
		c.settled()
		for _, r := range []*recorder{late, filled} {
			n, repeated := r.arrived()
			require.Equal(t, []int{530, 0}, []int{n, repeated}, "all that the log still has")
			r.inOrder(t)
		}
		n, repeated := old.arrived()
		require.Equal(t, []int{550, 0}, []int{n, repeated})
		old.inOrder(t)
	})
}

// cursor is the next offset of a target by the group's commit, -1 if it has none.
func (c *cluster) cursor(partition int32, target string) int64 {
	c.t.Helper()
	commit := c.committed(partition)
	if commit.Offset < 0 {
		return -1
	}
	cp, err := checkpoint.Decode(commit.Metadata, commit.Offset, event.TopicID(c.TopicInfo(topic).TopicID))
	require.NoError(c.t, err)
	for _, l := range cp.Lanes {
		if l.Name == target {
			return l.Cursor.Next()
		}
	}
	return -1
}

// During a rolling deploy members with an old and with a new config pass partitions to
// and fro. Neither's targets lose a record, and what is carried on holds nothing back.
func TestCursorsAreCarriedBetweenConfigs(t *testing.T) {
	protocols(t, func(t *testing.T, protocol memberOption) {
		const rounds, each = 6, 10
		c := newCluster(t, 2)
		kept, gone, added := newRecorder(), newRecorder(), newRecorder()
		configs := []map[string]*recorder{{"kept": kept, "gone": gone}, {"kept": kept, "added": added}}
		gone.set(closedFor(nil, place{0, 7}))
		added.set(closedFor(nil, place{0, 2*each + 5}))
		for round := range rounds {
			c.publish(0, numbered(each)...)
			c.publish(1, numbered(each)...)
			m := c.join(configs[round%2], protocol, drainFor(0))
			eventually(t, fmt.Sprintf("round %d: the target that both have gets on", round), func() bool {
				end := int64(each * (round + 1))
				return c.cursor(0, "kept") == end && c.cursor(1, "kept") == end
			})
			m.Stop(false)
			require.EqualValues(t, 7, c.cursor(0, "gone"))
			if round%2 == 1 {
				require.Equal(t, max(c.cursor(0, "added"), 0), c.committed(0).Offset, "what is carried holds nothing back")
			}
		}
		gone.set(nil)
		added.set(nil)
		for i, last := range []string{"gone", "added"} {
			m := c.join(configs[i], protocol)
			eventually(t, last+" has all", func() bool {
				return c.cursor(0, last) == rounds*each && c.cursor(1, last) == rounds*each
			})
			m.Stop(false)
		}
		for name, want := range map[string]int{"kept": 2 * rounds * each, "gone": 2 * rounds * each, "added": 2 * (rounds - 1) * each} {
			r := map[string]*recorder{"kept": kept, "gone": gone, "added": added}[name]
			n, _ := r.arrived()
			require.Equal(t, want, n, name)
			r.inOrder(t)
		}
		_, repeated := kept.arrived()
		require.Zero(t, repeated)
	})
}

// Retention passes what a target has still to read while it is detached, and what one
// has that is to be back-filled.
func TestLostWhileCatchingUp(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	for range 40 {
		c.publish(0, string(incompressible(128<<10)))
	}
	fast, slow, open := newRecorder(), newRecorder(), make(chan struct{})
	slow.set(closedFor(open, place{0, 0}))
	m := c.join(map[string]*recorder{"fast": fast, "slow": slow}, withWindow(1))
	eventually(t, "the fast target has all", func() bool { n, _ := fast.arrived(); return n == 40 })
	require.NoError(t, c.DeleteRecords(topic, 0, 35))
	close(open)
	c.settled()
	arrived := slow.attempts()
	lost := 0
	for arrived[place{0, int64(lost)}] > 0 {
		lost++
	}
	require.Less(t, lost, 35)
	require.Len(t, arrived, lost+5)
	require.Contains(t, m.log.String(), fmt.Sprintf(`lost before delivery" topic=policies partition=0 target=slow from=%d to=34`, lost))
	require.NotContains(t, m.log.String(), "target=fast from=")
}

// A commit that nobody made for these targets, such as of another program that was
// moved to policysync, is where they start.
func TestCommitWithoutCursors(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.publish(0, numbered(5)...)
	var reset kadm.Offsets
	reset.Add(kadm.Offset{Topic: topic, At: 3, LeaderEpoch: -1})
	require.NoError(t, c.admin().adm.CommitAllOffsets(t.Context(), group, reset))
	target := newRecorder()
	c.join(map[string]*recorder{"target": target}, withStart(delivery.Start{Earliest: true}))
	c.settled()
	require.Equal(t, map[place]int{{0, 3}: 1, {0, 4}: 1}, target.attempts())
}
