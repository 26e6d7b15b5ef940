package kafka

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
)

const proofs = "receipts"

func (c *cluster) receipts() *Receipts {
	c.t.Helper()
	w, err := NewReceipts(c.config(), proofs, slog.New(slog.DiscardHandler))
	require.NoError(c.t, err)
	c.t.Cleanup(w.Close)
	return w
}

func (c *cluster) write(w *Receipts, all ...receipt.Receipt) {
	c.t.Helper()
	left, err := w.Write(c.t.Context(), all)
	require.NoError(c.t, err)
	require.Empty(c.t, left)
}

// away has the partition of the receipts topic in which a key lies refuse what is written.
func (c *cluster) away(key string) *kfake.FaultHandle {
	c.t.Helper()
	return c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: proofs, Partitions: []int32{c.partitionOf(key)},
		Err: kerr.TopicAuthorizationFailed, Count: -1,
	})
}

// partitionOf is the partition of the receipts topic in which a key lies.
func (c *cluster) partitionOf(key string) int32 {
	return int32(partitionOf([]byte(key), len(c.PartitionInfos(proofs))))
}

// proven reads what the receipts topic says of a policy: each record's key with the
// source offset that it speaks of.
func (c *cluster) proven(policy string) []string {
	c.t.Helper()
	var found []string
	err := c.admin().ReadReceipts(c.t.Context(), proofs, [][]byte{[]byte(policy)}, time.Time{}, func(key, value []byte) {
		if r, err := receipt.Decode(key, value); err == nil && r.Key == policy {
			found = append(found, fmt.Sprintf("%s/%d", key, r.Source.Offset))
		}
	})
	require.NoError(c.t, err)
	return found
}

// Where Kafka's own client would put a record with the policy key, by the values of
// its tests (UtilsTest.testMurmur2).
func TestPartitionOf(t *testing.T) {
	t.Parallel()
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107,
	} {
		require.EqualValues(t, (hash&0x7fffffff)%7, partitionOf([]byte(key), 7), key)
	}
	require.Equal(t, partitionOf([]byte{}, 7), partitionOf(nil, 7))
}

func TestReceiptsOfAKeyLieInOnePartition(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, kfake.SeedTopics(5, proofs))
	w := c.receipts()
	var all []receipt.Receipt
	for n := range 30 {
		for _, target := range []string{"api", "warehouse"} {
			for _, outcome := range []string{receipt.Delivered, receipt.Stale} {
				all = append(all, receipt.Receipt{
					Target: target, Key: fmt.Sprintf("P/%d", n), Outcome: outcome, Time: time.Now(), Source: event.Position{Offset: int64(n)},
				})
			}
		}
	}
	c.write(w, all...)
	require.Equal(t, []string{"held/api/P/7/7", "last/api/P/7/7", "held/warehouse/P/7/7", "last/warehouse/P/7/7"}, c.proven("P/7"))
	require.Empty(t, c.proven("P/31"))
	used := 0
	for _, p := range c.PartitionInfos(proofs) {
		if p.HighWatermark > 0 {
			used++
		}
	}
	require.Equal(t, 5, used, "the keys spread")
}

// One key that is too large keeps neither the others nor the commit waiting.
func TestReceiptTooLargeIsLeftOut(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, kfake.SeedTopics(1, proofs))
	var log lockedBuffer
	w, err := NewReceipts(c.config(), proofs, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	defer w.Close()
	c.write(w,
		receipt.Receipt{Target: "api", Key: "P-1", Outcome: receipt.Delivered},
		receipt.Receipt{Target: "api", Key: strings.Repeat("k", 2<<20), Outcome: receipt.Delivered},
		receipt.Receipt{Target: "api", Key: "P-2", Outcome: receipt.Delivered},
	)
	require.Equal(t, []string{"held/api/P-1/0"}, c.proven("P-1"))
	require.Equal(t, []string{"held/api/P-2/0"}, c.proven("P-2"))
	require.Equal(t, 1, strings.Count(log.String(), "receipt is larger than its topic takes"))
}

func TestReadReceiptsSince(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, kfake.SeedTopics(3, proofs))
	w := c.receipts()
	require.NoError(t, w.WriteMember(t.Context(), &receipt.Member{ID: "pod-0"}))
	require.NoError(t, w.ForgetMember(t.Context(), "pod-0"))
	read := func(since time.Time) []string {
		var found []string
		require.NoError(t, c.admin().ReadReceipts(t.Context(), proofs, [][]byte{receipt.PartitionKey(receipt.MemberKey(""))}, since, func(key, value []byte) {
			found = append(found, fmt.Sprintf("%s %v", key, value != nil))
		}))
		return found
	}
	want := []string{"member/pod-0 true", "member/pod-0 false"}
	require.Empty(t, cmp.Diff(want, read(time.Time{})))
	require.Empty(t, cmp.Diff(want, read(time.Now().Add(-time.Minute))))
	require.Empty(t, read(time.Now().Add(time.Minute)))
	err := c.admin().ReadReceipts(t.Context(), "nowhere", nil, time.Time{}, nil)
	require.ErrorContains(t, err, "describe topics: UNKNOWN_TOPIC_OR_PARTITION")
}

// What is committed can be proven: no commit is sent before its receipts are
// acknowledged, and those of a failed write are kept.
func TestReceiptsComeBeforeTheCommit(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, kfake.SeedTopics(4, proofs))
	refused := c.away("0-0")
	require.NotEqual(t, c.partitionOf("0-0"), c.partitionOf("1-0"))
	c.publish(0, "a")
	c.publish(1, "b")
	m := c.join(map[string]*recorder{"target": newRecorder()}, withReceipts(c.receipts()))
	eventually(t, "the write is repeated", func() bool { return refused.Hits() >= 3 })
	eventually(t, "a partition whose receipts are written is committed", func() bool { return c.committed(1).Offset == 1 })
	require.LessOrEqual(t, c.committed(0).Offset, int64(0), "nothing beyond where it starts is committed")
	require.Equal(t, 1, strings.Count(m.log.String(), "write receipts: TOPIC_AUTHORIZATION_FAILED"), "the same error is logged once")

	c.publish(0, "a, changed") // of the same key
	eventually(t, "it has settled", func() bool {
		n := 0
		for _, s := range m.engine.Snapshot().Targets[0].Lanes {
			n += int(s.Lag)
		}
		return n == 0
	})
	refused.Remove()
	c.settled()
	require.Equal(t, []string{"held/target/0-0/1"}, c.proven("0-0"), "the newest has replaced the kept one")
	require.Equal(t, []string{"held/target/1-0/0"}, c.proven("1-0"))
}

// What is acknowledged is not written again when the rest of it is not: else a member that
// owes more than it can write before the session is in danger would never commit.
func TestAcknowledgedReceiptsAreNotWrittenAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, kfake.SeedTopics(4, proofs))
	require.NotEqual(t, c.partitionOf("0-0"), c.partitionOf("0-1"))
	c.publish(0, "a", "b")
	target := newRecorder()
	m := c.join(map[string]*recorder{"target": target}, withReceipts(c.receipts()), commitEach(never))
	eventually(t, "both have settled", func() bool {
		n, _ := target.arrived()
		return n == 2 && m.engine.Snapshot().Targets[0].Lanes[0].Deliveries == 0
	})
	refused := c.away("0-1")
	eventually(t, "the write is repeated", func() bool { m.CommitNow(); return refused.Hits() >= 3 })
	require.Equal(t, []string{"held/target/0-0/0"}, c.proven("0-0"))
	require.LessOrEqual(t, c.committed(0).Offset, int64(0), "nothing is committed that is not proven")

	c.away("0-0") // nothing waits for it any more
	refused.Remove()
	eventually(t, "it is committed", func() bool { m.CommitNow(); return c.committed(0).Offset == 2 })
	require.Equal(t, []string{"held/target/0-1/1"}, c.proven("0-1"))
}

// A write that fails in its middle tells what is left, in order.
func TestReceiptsThatAreLeft(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, kfake.SeedTopics(4, proofs))
	var all, want []receipt.Receipt
	for n := 0; len(all) < 3*chunk; n++ {
		r := receipt.Receipt{Target: "api", Key: strconv.Itoa(n), Outcome: receipt.Delivered}
		refused := partitionOf([]byte(r.Key), 4) == 0
		if refused && len(all) < chunk {
			continue
		}
		if all = append(all, r); refused || len(all) > 2*chunk {
			want = append(want, r)
		}
	}
	c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: proofs, Partitions: []int32{0}, Err: kerr.TopicAuthorizationFailed, Count: -1,
	})
	left, err := c.receipts().Write(t.Context(), all)
	require.ErrorIs(t, err, kerr.TopicAuthorizationFailed)
	require.Equal(t, want, left)
}

// The last commit of a revoke has its receipts too, but waits for them only for a
// while; what it leaves is pushed and proven again by the next owner.
func TestReceiptsOfTheLastCommit(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, kfake.SeedTopics(1, proofs))
	c.publish(0, "a")
	target := newRecorder()
	settles := func(m *member) {
		eventually(t, "it has settled", func() bool {
			s := m.engine.Snapshot().Targets[0]
			return len(s.Lanes) == 1 && s.Lanes[0].Deliveries == 0 && len(target.attempts()) > 0
		})
	}
	away := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: proofs, Err: kerr.NotEnoughReplicas, Count: -1})
	m := c.join(map[string]*recorder{"target": target}, withReceipts(c.receipts()), commitEach(never))
	settles(m)
	began := time.Now()
	m.Stop(false)
	require.Less(t, time.Since(began), RebalanceTimeout/2)
	require.EqualValues(t, -1, c.committed(0).Offset)
	require.Empty(t, c.proven("0-0"))
	away.Remove()

	m = c.join(map[string]*recorder{"target": target}, withReceipts(c.receipts()), commitEach(never))
	eventually(t, "it has come again", func() bool { _, repeated := target.arrived(); return repeated == 1 })
	settles(m)
	m.Stop(false)
	require.EqualValues(t, 1, c.committed(0).Offset)
	require.Equal(t, []string{"held/target/0-0/0"}, c.proven("0-0"))
}

// What settled before a partition was lost is neither committed nor proven: another
// member pushes it again, and says so.
func TestLostPartitionWritesNoReceipts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, kfake.SeedTopics(1, proofs))
	c.publish(0, "a")
	target := newRecorder()
	m := c.join(map[string]*recorder{"target": target}, withReceipts(c.receipts()), commitEach(never))
	eventually(t, "it has arrived", func() bool { n, _ := target.arrived(); return n == 1 })
	c.throwOut()
	eventually(t, "it has come again", func() bool { _, repeated := target.arrived(); return repeated == 1 })
	require.Empty(t, c.proven("0-0"))
	m.Stop(false)
	require.Len(t, c.proven("0-0"), 1)
}
