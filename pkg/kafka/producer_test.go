package kafka

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/event"
)

// letters reads n dead letters.
func (c *cluster) letters(n int) []*event.Record {
	c.t.Helper()
	reader, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(letter))
	require.NoError(c.t, err)
	defer reader.Close()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	var found []*event.Record
	for len(found) < n {
		fetches := reader.PollFetches(ctx)
		require.NoError(c.t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			record := toRecord(r, event.TopicID{})
			found = append(found, &record)
		})
	}
	return found
}

func (c *cluster) producer() *Producer {
	c.t.Helper()
	p, err := NewProducer(c.config(), slog.New(slog.DiscardHandler))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, p.Close()) })
	return p
}

func incompressible(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestLetters(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name      string
		size      int
		asked     bool
		reference bool
	}{
		{"the record itself", 100, false, false},
		{"references are asked for", 100, true, true},
		{"more than the topic takes", 2 << 20, false, true},
		{"more than a batch takes", maxBatchBytes, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 1)
			source := &event.Record{
				Position: event.Position{Topic: topic, Partition: 0, Offset: 7, LeaderEpoch: -1},
				Key:      []byte("P-1"), Value: incompressible(row.size),
				Headers: []event.Header{{Key: "traceparent", Value: []byte("00")}},
			}
			l := deadletter.Letter{ID: "id", Target: "target", Class: "permanent", Error: "422", Position: source.Position}
			letters := Letters{Producer: c.producer(), Topic: letter, References: row.asked}
			require.NoError(t, letters.Write(t.Context(), l, source))

			got, original, err := deadletter.Decode(c.letters(1)[0])
			require.NoError(t, err)
			require.Equal(t, l.ID, got.ID)
			require.Equal(t, row.reference, got.Reference)
			if row.reference {
				require.Nil(t, original)
				return
			}
			require.Empty(t, cmp.Diff([]any{source.Key, source.Value, source.Headers}, []any{original.Key, original.Value, original.Headers}))
		})
	}
	t.Run("not acknowledged", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t, 1)
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed})
		err := Letters{Producer: c.producer(), Topic: letter}.Write(t.Context(), deadletter.Letter{ID: "id/7"}, &event.Record{})
		require.ErrorIs(t, err, kerr.TopicAuthorizationFailed)
		require.ErrorContains(t, err, "write dead letter id/7: ")
	})
}

// An offset moves past a dead letter only when the broker has the letter.
func TestOffsetWaitsForTheDeadLetter(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	refusals := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: letter, Err: kerr.TopicAuthorizationFailed, Count: -1})
	c.publish(0, "bad", "good")
	target := newRecorder()
	target.set(func(_ context.Context, p place) error {
		if p.offset == 0 {
			return connector.AsPermanent(kerr.PolicyViolation)
		}
		return nil
	})
	m := c.join(map[string]*recorder{"target": target})
	require.NoError(t, refusals.Wait(t.Context(), 1))
	eventually(t, "the other one is committed as a run", func() bool { return c.committed(0).Offset == 0 })
	eventually(t, "it is said", func() bool { return strings.Contains(m.log.String(), "dead letter is not acknowledged") })
	refusals.Remove()
	c.settled()
	require.Equal(t, "bad", string(c.letters(1)[0].Value))
}
