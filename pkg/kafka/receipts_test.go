package kafka

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

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

// proven reads what the receipts topic says of a policy: each record's key with the
// source offset that it speaks of.
func (c *cluster) proven(policy string) []string {
	c.t.Helper()
	var found []string
	err := c.admin().ReadReceipts(c.t.Context(), proofs, []byte(policy), time.Time{}, func(key, value []byte) {
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
	require.NoError(t, w.Write(t.Context(), all))
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
	require.NoError(t, w.Write(t.Context(), []receipt.Receipt{
		{Target: "api", Key: "P-1", Outcome: receipt.Delivered},
		{Target: "api", Key: strings.Repeat("k", 2<<20), Outcome: receipt.Delivered},
		{Target: "api", Key: "P-2", Outcome: receipt.Delivered},
	}))
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
		require.NoError(t, c.admin().ReadReceipts(t.Context(), proofs, receipt.PartitionKey(receipt.MemberKey("")), since, func(key, value []byte) {
			found = append(found, fmt.Sprintf("%s %v", key, value != nil))
		}))
		return found
	}
	want := []string{"member/pod-0 true", "member/pod-0 false"}
	require.Empty(t, cmp.Diff(want, read(time.Time{})))
	require.Empty(t, cmp.Diff(want, read(time.Now().Add(-time.Minute))))
	require.Empty(t, read(time.Now().Add(time.Minute)))
	err := c.admin().ReadReceipts(t.Context(), "nowhere", nil, time.Time{}, nil)
	require.ErrorContains(t, err, "describe topic nowhere: UNKNOWN_TOPIC_OR_PARTITION")
}
