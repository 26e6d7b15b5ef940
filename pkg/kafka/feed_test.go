package kafka

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/event"
)

// A partition whose queue is full pauses its feed and no other, and the pause ends
// with the queue, or with the assignment, whichever is first.
func TestPauseOfAFullPartition(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		end  func(c *cluster, target *recorder, open chan struct{})
	}{
		{"the target goes on", func(_ *cluster, _ *recorder, open chan struct{}) { close(open) }},
		{"the partition is lost and comes back", func(c *cluster, target *recorder, _ chan struct{}) {
			target.set(nil)
			c.throwOut()
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 2)
			const records = 30 // 15 MiB: more than a queue and a fetch hold
			large := make([]string, records)
			for i := range large {
				large[i] = string(incompressible(512 << 10))
			}
			c.publish(0, large...)
			target, open := newRecorder(), make(chan struct{})
			target.set(closedFor(open, place{0, 0}))
			m := c.join(map[string]*recorder{"target": target}, withWindow(1))
			eventually(t, "the feed of the full partition is paused", func() bool {
				return len(m.feed.client.PauseFetchPartitions(nil)[topic]) == 1
			})
			c.publish(1, numbered(5)...)
			eventually(t, "the other partition goes on", func() bool { return c.committed(1).Offset == 5 })
			row.end(c, target, open)
			c.settled()
			n, _ := target.arrived()
			require.Equal(t, records+5, n)
		})
	}
}

// What retention deletes while a target is behind is reported with its range.
func TestRecordsDeletedBeforeTheyWereRead(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	large := string(incompressible(512 << 10))
	for range 14 {
		c.publish(0, large) // each a batch of its own
	}
	target, open := newRecorder(), make(chan struct{})
	target.set(closedFor(open, place{0, 0}))
	m := c.join(map[string]*recorder{"target": target}, withWindow(1))
	eventually(t, "the feed is paused", func() bool { return len(m.feed.client.PauseFetchPartitions(nil)[topic]) == 1 })
	for range 6 {
		c.publish(0, large)
	}
	require.NoError(t, c.DeleteRecords(topic, 0, 18))
	close(open)
	c.settled()
	arrived := target.attempts()
	lost := 0
	for arrived[place{0, int64(lost)}] > 0 {
		lost++ // these were read before the log was cut
	}
	require.Contains(t, m.log.String(), fmt.Sprintf("lost before delivery\" topic=policies partition=0 target=target from=%d to=17", lost))
	require.Equal(t, 1, strings.Count(m.log.String(), "lost before delivery"))
	require.Len(t, arrived, lost+2)
}

// Aborted records are nobody's, and the markers between records hold nothing up.
func TestFeedReadsWhatIsCommitted(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	writer, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID("platform"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(writer.Close)
	for _, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		require.NoError(t, writer.BeginTransaction())
		require.NoError(t, writer.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr())
		require.NoError(t, writer.EndTransaction(context.Background(), end))
	}
	c.publish(0, "last")
	target := newRecorder()
	c.join(map[string]*recorder{"target": target})
	c.settled()
	require.Equal(t, map[place]int{{0, 2}: 1, {0, 6}: 1}, target.attempts())
}

// With 64 partitions a fetch brought eight times as much of each, all of which was held at once:
// collecting garbage took most of the CPU, and the rate was a quarter.
func TestFetchIsSharedByPartitions(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 64)
	f := c.feed(512 << 10)
	each := func(partitions int) int32 {
		var all []partition
		for id := range int32(partitions) {
			all = append(all, partition{topic, id})
			f.add(all[id], &reader{take: func([]*event.Record, int64, int64) bool { return false }}, 0, -1)
		}
		bytes := make(chan any, 1)
		f.do(func() { bytes <- f.client.OptValue(kgo.FetchMaxPartitionBytes) })
		f.remove(all)
		size, _ := (<-bytes).(int32)
		return size
	}
	require.EqualValues(t, 16<<10, each(64))
	require.EqualValues(t, 64<<10, each(1), "what others had is there again")
}

// A partition that can't be fetched waits a second before it is asked for again, and says so
// once. The others go on.
func TestFetchIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	target := newRecorder()
	m := c.join(map[string]*recorder{"target": target})
	c.publish(0, "a")
	c.settled()
	refused := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Partitions: []int32{0}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	eventually(t, "it waits", func() bool { return len(m.feed.client.PauseFetchPartitions(nil)[topic]) == 1 })
	c.publish(1, "b")
	eventually(t, "it asks again", func() bool { return refused.Hits() >= 2 })
	c.publish(0, "c")
	refused.Remove()
	c.settled()
	n, _ := target.arrived()
	require.Equal(t, 3, n)
	require.Equal(t, 1, strings.Count(m.log.String(), "fetch records; trying again"))
}
