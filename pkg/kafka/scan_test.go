package kafka

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/event"
)

// scanned reads what a topic holds since then, by partition.
func (c *cluster) scanned(since time.Time) map[int32][]string {
	c.t.Helper()
	spans, err := c.admin().Spans(c.t.Context(), since, topic)
	require.NoError(c.t, err)
	found := map[int32][]string{}
	require.NoError(c.t, c.admin().Scan(c.t.Context(), spans, func(r *event.Record) error {
		require.NotZero(c.t, r.TopicID)
		found[r.Partition] = append(found[r.Partition], fmt.Sprintf("%d %s", r.Offset, r.Value))
		return nil
	}))
	return found
}

// A scan reads each partition in order, from where its log begins now to where it
// ended, and nothing that was not committed, whatever lies last.
func TestScan(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4)
	c.publish(0, "a", "b", "c")
	require.NoError(t, c.DeleteRecords(topic, 0, 1))
	old := time.Now().Add(-time.Hour)
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		writer, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID(fmt.Sprint(i)), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		require.NoError(t, err)
		require.NoError(t, writer.BeginTransaction())
		record := &kgo.Record{Topic: topic, Partition: int32(1 + i), Value: []byte("in a transaction"), Timestamp: old}
		require.NoError(t, writer.ProduceSync(t.Context(), record).FirstErr())
		require.NoError(t, writer.EndTransaction(t.Context(), end))
		writer.Close()
	}
	require.Equal(t, map[int32][]string{0: {"1 b", "2 c"}, 1: {"0 in a transaction"}}, c.scanned(time.Time{}))
	require.Equal(t, []int32{0}, slices.Collect(maps.Keys(c.scanned(old.Add(time.Minute)))))

	spans, err := c.admin().Spans(t.Context(), time.Time{}, topic)
	require.NoError(t, err)
	enough := errors.New("enough")
	require.ErrorIs(t, c.admin().Scan(t.Context(), spans, func(*event.Record) error { return enough }), enough)
	_, err = c.admin().Spans(t.Context(), time.Time{}, "nowhere")
	require.ErrorContains(t, err, "describe topics: ")
}

// What comes while a scan runs is not part of it.
func TestScanEndsWhereItsSpansEnd(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.publish(0, "a", "b")
	spans, err := c.admin().Spans(t.Context(), time.Time{}, topic)
	require.NoError(t, err)
	c.publish(0, "c")
	n := 0
	require.NoError(t, c.admin().Scan(t.Context(), spans, func(*event.Record) error { n++; return nil }))
	require.Equal(t, 2, n)
}
