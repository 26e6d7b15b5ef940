package kafka

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// idOf is the id that a topic has now.
func (c *cluster) idOf(topic string) event.TopicID {
	c.t.Helper()
	topics, err := c.admin().adm.ListTopics(c.t.Context(), topic)
	require.NoError(c.t, err)
	return event.TopicID(topics[topic].ID)
}

// reading adds a partition to a feed, under a topic id, and returns what its reader is told.
func reading(f *feed, id int32, topicID event.TopicID) (taken chan int, diverged chan error) {
	taken, diverged = make(chan int, 100), make(chan error, 100)
	f.add(partition{topic, id}, &reader{
		topicID: topicID,
		take:    func(rs []*event.Record, _, _ int64) bool { taken <- len(rs); return false },
		diverge: func(cause error) { diverged <- cause },
	}, 0, -1)
	return taken, diverged
}

func within(t *testing.T, told <-chan error) error {
	t.Helper()
	select {
	case err := <-told:
		return err
	case <-time.After(patience):
		require.Fail(t, "it is not told")
		return nil
	}
}

// A partition that is added under another id of its topic ends the reading of the topic's
// others. They are told, and not left without a word.
func TestAnotherTopicIDIsToldToAllPartitions(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	f := c.feed(512 << 10)
	_, first := reading(f, 0, event.TopicID{1})
	taken, second := reading(f, 1, c.idOf(topic))
	require.ErrorIs(t, within(t, first), kerr.UnknownTopicID)
	c.publish(1, "v")
	eventually(t, "the one that was added is read", func() bool { return len(taken) == 1 })
	require.Empty(t, second)
}

// What a fetch brings of a topic under another id than the reader's is of another topic.
func TestRecordsOfAnotherTopicIDAreNotTaken(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.publish(0, "v")
	taken, told := reading(c.feed(512<<10), 0, event.TopicID{1})
	require.ErrorIs(t, within(t, told), kerr.UnknownTopicID)
	require.Empty(t, taken)
}

// After the broker has refused a topic's id the client learns about the topic anew, also if
// the id turns out to be the same.
func TestRefusedTopicIDIsLearntAnew(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	f, id := c.feed(512<<10), c.idOf(topic)
	_, first := reading(f, 0, id)
	_, second := reading(f, 1, id)
	refused := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Partitions: []int32{0}, Err: kerr.UnknownTopicID, Count: -1})
	require.ErrorIs(t, within(t, first), kerr.UnknownTopicID)
	refused.Remove()
	f.remove([]partition{{topic, 0}})
	taken, _ := reading(f, 0, id)
	require.ErrorIs(t, within(t, second), kerr.UnknownTopicID)
	c.publish(0, "v")
	eventually(t, "it is read again", func() bool { return len(taken) == 1 })
}

// A restart whose commit is refused, because the topic's id is another by now, joins again
// in place of trying for ever.
func TestRestartOfATopicOfAnotherID(t *testing.T) {
	t.Parallel()
	c, m, target := oneUncommitted(t)
	refused := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Topic: topic, Err: kerr.UnknownTopicID, Count: -1})
	c.restarts(m)
	eventually(t, "the partition is assigned again", func() bool { return strings.Count(m.log.String(), "partition assigned") == 2 })
	refused.Remove()
	c.publish(0, "b")
	eventually(t, "it is read", func() bool { n, _ := target.arrived(); return n == 2 })
}

// Who writes to a topic that was deleted and made again is refused once, and no longer.
func TestWritingToATopicThatWasMadeAgain(t *testing.T) {
	t.Parallel()
	const proof = "receipts"
	c := newCluster(t, 1, kfake.SeedTopics(1, proof))
	log := slog.New(slog.DiscardHandler)
	receipts, err := NewReceipts(c.config(), proof, log)
	require.NoError(t, err)
	t.Cleanup(receipts.Close)
	producer, err := NewProducer(c.config(), log)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, producer.Close()) })
	for name, write := range map[string]func() error{
		proof: func() error { return receipts.WriteMember(t.Context(), &receipt.Member{ID: "m"}) },
		letter: func() error {
			return Letters{Producer: producer, Topic: letter}.Write(t.Context(), deadletter.Letter{ID: "id"}, &event.Record{})
		},
	} {
		require.NoError(t, write())
		require.NoError(t, c.DeleteTopic(name))
		require.NoError(t, c.CreateTopic(name, 1, nil))
		eventually(t, "it is written", func() bool { return write() == nil })
	}
}
