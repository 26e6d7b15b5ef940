package kafka

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/telemetry"
)

// The error of a partition is only inside a response that is fine as a whole.
func TestRefusedCommitIsRepeated(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	refusals := c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.OffsetCommit}, Partitions: []int32{1}, Err: kerr.InvalidCommitOffsetSize, Count: 3,
	})
	c.publish(0, "a")
	c.publish(1, "b")
	m := c.join(map[string]*recorder{"target": newRecorder()})
	c.settled() // though nothing settles after the first refusal
	require.Equal(t, 3, refusals.Hits())
	require.Equal(t, 1, strings.Count(m.log.String(), "commit offset"), "the same error is logged once")
	refused := 0
	for _, err := range m.commitErrors() {
		if err != nil {
			require.ErrorIs(t, err, kerr.InvalidCommitOffsetSize)
			refused++
		}
	}
	require.Equal(t, 3, refused, "each refusal is counted")
	eventually(t, "the end of it is logged", func() bool { return strings.Contains(m.log.String(), "committed again") })
}

// A broker whose limit is lower than the default gets no commit without cursors:
// that would push again, after a restart, what targets have.
func TestCursorsThatTheBrokerHasNoRoomFor(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	refusals := c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.OffsetMetadataTooLarge, Count: -1,
		When: func(r kmsg.Request) bool {
			return len(*r.(*kmsg.OffsetCommitRequest).Topics[0].Partitions[0].Metadata) > 10
		},
	})
	c.publish(0, "a")
	target := newRecorder()
	m := c.join(map[string]*recorder{"target": target})
	require.NoError(t, refusals.Wait(t.Context(), 3))
	require.EqualValues(t, -1, c.committed(0).Offset)
	require.Contains(t, m.log.String(), "offset.metadata.max.bytes")
	require.Equal(t, 1, strings.Count(m.log.String(), "level=ERROR"))

	c.publish(0, "b")
	eventually(t, "deliveries go on", func() bool { n, _ := target.arrived(); return n == 2 })
	refusals.Remove()
	c.settled()
	require.NotEmpty(t, c.committed(0).Metadata)
}

// A deliberate request does not wait for the interval.
func TestCommitNow(t *testing.T) {
	t.Parallel()
	c, m, _ := oneUncommitted(t)
	eventually(t, "it is committed", func() bool {
		m.CommitNow()
		return c.committed(0).Offset == 1
	})
}

// While the group waits for the other members to join, which lasts as long as the
// slowest drain, the members that have joined go on committing.
func TestCommitsGoOnDuringAJoin(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.publish(0, "a")
	m := c.join(map[string]*recorder{"target": newRecorder()})
	c.settled()
	joining, open := make(chan struct{}), make(chan struct{})
	c.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		close(joining)
		c.SleepControl(func() { <-open })
		return nil, nil, false
	})
	defer close(open)
	m.member.ForceRebalance()
	<-joining
	c.publish(0, "b")
	c.settled()
}

// Between two generations Kafka takes no commit. That is no failure to tell of, and what
// a member drained is committed as soon as both agree on the generation.
func TestLastCommitWaitsForTheGeneration(t *testing.T) {
	t.Parallel()
	for _, refusal := range []*kerr.Error{kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.StaleMemberEpoch} {
		t.Run(refusal.Message, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 1)
			refusals := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: refusal, Count: 2})
			c.publish(0, "a")
			target := newRecorder()
			m := c.join(map[string]*recorder{"target": target}, commitEach(never))
			eventually(t, "it arrived", func() bool { n, _ := target.arrived(); return n == 1 })
			m.Stop(false)
			require.Equal(t, 2, refusals.Hits())
			require.EqualValues(t, 1, c.committed(0).Offset)
			require.NotContains(t, m.log.String(), "commit offset")
			for _, err := range m.commitErrors()[:2] {
				require.ErrorIs(t, err, refusal, "it is counted all the same")
			}
		})
	}
}

// The last commit of a revoke, with its receipts, waits for the one that is under way:
// else that one, if it had to be sent again, would overwrite it with what is older.
func TestLastCommitWaitsForTheOneUnderWay(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, kfake.SeedTopics(1, proofs))
	var first atomic.Bool
	committing, open := make(chan struct{}), make(chan struct{})
	c.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		if first.CompareAndSwap(false, true) {
			close(committing)
			c.SleepControl(func() { <-open })
		}
		return nil, nil, false
	})
	c.publish(0, "a")
	target := newRecorder()
	m := c.join(map[string]*recorder{"target": target}, withReceipts(c.receipts()))
	eventually(t, "it arrived", func() bool { n, _ := target.arrived(); return n == 1 })
	<-committing
	c.publish(0, "b")
	lanes := func() []telemetry.LaneSnapshot { return m.engine.Snapshot().Targets[0].Lanes }
	eventually(t, "the next has settled", func() bool {
		n, _ := target.arrived()
		return n == 2 && lanes()[0].Deliveries == 0
	})
	released := make(chan struct{})
	go func() {
		m.release(map[string][]int32{topic: {0}}, true)
		close(released)
	}()
	eventually(t, "it is drained", func() bool { return len(lanes()) == 0 })
	require.NotContains(t, c.proven("0-0"), "held/target/0-0/1")
	close(open)
	<-released
	require.EqualValues(t, 2, c.committed(0).Offset)
	require.Contains(t, c.proven("0-0"), "held/target/0-0/1")
}
