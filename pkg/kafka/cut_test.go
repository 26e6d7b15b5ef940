package kafka

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// newDurableCluster is one that cut can stop and start again.
func newDurableCluster(t *testing.T) (c *cluster, dir string) {
	t.Helper()
	dir = t.TempDir()
	return newCluster(t, 1, kfake.DataDir(dir), kfake.SyncWrites()), dir
}

// cut has the broker lose all records of partition 0 from an offset on, of which each
// has a batch of its own, as after an unclean election: it is back with another leader
// epoch.
func (c *cluster) cut(dir string, from int64) {
	c.t.Helper()
	end := c.PartitionInfos(topic)[0].HighWatermark
	_, port, err := net.SplitHostPort(c.ListenAddrs()[0])
	require.NoError(c.t, err)
	n, err := strconv.Atoi(port)
	require.NoError(c.t, err)
	c.Close()
	segments, err := filepath.Glob(filepath.Join(dir, "*", topic+"-0", "*.dat"))
	require.NoError(c.t, err)
	require.Len(c.t, segments, 1)
	info, err := os.Stat(segments[0])
	require.NoError(c.t, err)
	require.NoError(c.t, os.Truncate(segments[0], info.Size()*from/end))
	c.Cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(n), kfake.DataDir(dir), kfake.SyncWrites(),
		kfake.GroupMinSessionTimeout(1e9))
	require.NoError(c.t, err)
	c.t.Cleanup(c.Close)
	require.Equal(c.t, from, c.PartitionInfos(topic)[0].HighWatermark)
	require.NoError(c.t, c.MoveTopicPartition(topic, 0, 0))
}

// one publishes records of one byte, each a batch of its own.
func (c *cluster) one(n int) {
	for range n {
		c.publish(0, "v")
	}
}

// An unclean election, or a log that was restored, takes away what had settled. What is
// written in its place is delivered, whenever the member finds out.
func TestLogIsCut(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		running bool
	}{{"while the member runs", true}, {"while it is stopped", false}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c, dir := newDurableCluster(t)
			c.one(10)
			target := newRecorder()
			targets := map[string]*recorder{"target": target}
			m := c.join(targets)
			c.settled()
			if !row.running {
				m.Stop(false)
			}
			c.cut(dir, 6)
			c.one(7) // the log is longer than ever
			if !row.running {
				m = c.join(targets)
			}
			c.settled()
			want := map[place]int{}
			for offset := range int64(13) {
				want[place{0, offset}] = 1
				if offset >= 6 && offset < 10 {
					want[place{0, offset}] = 2
				}
			}
			require.Equal(t, want, target.attempts())
			require.Equal(t, 1, strings.Count(m.log.String(), `target goes back" topic=policies partition=0 target=target from=6 to=9`))
		})
	}
}

// The client finds by itself, in the middle of reading, that the log was cut: here it
// was not, so everything goes on as if nothing had been.
func TestFeedsBeginAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	fast, slow, open := newRecorder(), newRecorder(), make(chan struct{})
	slow.set(closedFor(open, place{0, 0}))
	c.publish(0, numbered(100)...)
	m := c.join(map[string]*recorder{"fast": fast, "slow": slow}, withWindow(5))
	eventually(t, "the fast target has all", func() bool { n, _ := fast.arrived(); return n == 100 })
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.OffsetOutOfRange})
	eventually(t, "it is noticed", func() bool { return strings.Contains(m.log.String(), "the log is not the one that was read") })
	close(open)
	c.publish(0, numbered(100)...)
	c.settled()
	for _, r := range []*recorder{fast, slow} {
		n, _ := r.arrived()
		require.Equal(t, 200, n)
		r.inOrder(t)
	}
	_, repeated := fast.arrived()
	require.Zero(t, repeated)
	require.NotContains(t, m.log.String(), "goes back")
}

// It is noticed at once, not when the next record comes.
func TestQuietLogIsCut(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.publish(0, numbered(10)...)
	target := newRecorder()
	m := c.join(map[string]*recorder{"target": target})
	c.settled()
	require.NoError(t, c.DeleteRecords(topic, 0, 10)) // nothing is left that could be read again
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.OffsetOutOfRange})
	eventually(t, "it is noticed", func() bool { return strings.Contains(m.log.String(), "the log is not the one that was read") })
	c.publish(0, numbered(5)...)
	c.settled()
	n, repeated := target.arrived()
	require.Equal(t, []int{15, 0}, []int{n, repeated})
}

// A commit beyond the end of the log names no record of it.
func TestCommitBeyondTheEnd(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.publish(0, numbered(5)...)
	var beyond kadm.Offsets
	beyond.Add(kadm.Offset{Topic: topic, At: 50, LeaderEpoch: -1})
	require.NoError(t, c.admin().adm.CommitAllOffsets(t.Context(), group, beyond))
	target := newRecorder()
	m := c.join(map[string]*recorder{"target": target})
	c.settled()
	n, _ := target.arrived()
	require.Equal(t, 5, n)
	require.Contains(t, m.log.String(), "the log was cut")
}

// A topic that was deleted and created again is another one, though the offsets look
// alike: all of it is delivered.
func TestTopicIsCreatedAgain(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("while the member runs %v", running), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 2)
			c.publish(0, numbered(5)...)
			c.publish(1, numbered(5)...)
			target := newRecorder()
			targets := map[string]*recorder{"target": target}
			m := c.join(targets)
			c.settled()
			if !running {
				m.Stop(false)
			}
			require.NoError(t, c.DeleteTopic(topic))
			require.NoError(t, c.CreateTopic(topic, 2, nil))
			c.writer.PurgeTopicsFromProducing(topic)
			c.publish(0, numbered(9)...)
			if !running {
				c.join(targets)
			}
			eventually(t, "all is settled", func() bool { return c.committed(0).Offset == 9 })
			attempts := target.attempts()
			require.Equal(t, 2, attempts[place{0, 0}])
			require.Equal(t, 2, attempts[place{0, 4}])
			require.Equal(t, 1, attempts[place{0, 8}])
		})
	}
}

// A leader that lags behind the controller does not know the topic by its id for a while.
// However often that happens, the partition is read again when it does, and what was in
// flight is not repeated.
func TestTopicIDIsUnknownAgainAndAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	target := newRecorder()
	m := c.join(map[string]*recorder{"target": target})
	for n := range 2 {
		open := make(chan struct{})
		target.set(closedFor(open, place{0, int64(n)}))
		c.publish(0, "v")
		eventually(t, "in flight", func() bool { return len(target.attempts()) == n+1 })
		unknown := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.UnknownTopicID, Count: -1})
		eventually(t, "it is noticed", func() bool {
			return strings.Count(m.log.String(), "the log is not the one that was read") == n+1
		})
		unknown.Remove()
		close(open)
	}
	c.publish(0, "v")
	c.settled()
	n, repeated := target.arrived()
	require.Equal(t, []int{3, 0}, []int{n, repeated})
}
