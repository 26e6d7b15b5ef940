package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/event"
)

// Producer writes records: dead letters while running, events for trials. It is
// idempotent and waits for all in-sync replicas.
type Producer struct {
	client *kgo.Client
}

// maxBatchBytes is the largest batch that a Producer sends. The topic's
// max.message.bytes bounds it too.
const maxBatchBytes = 16 << 20

// NewProducer returns a Producer. The cluster is first reached by its first record.
func NewProducer(c Config, log *slog.Logger) (*Producer, error) {
	client, err := c.dial(log,
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.ProducerBatchMaxBytes(maxBatchBytes),
		kgo.MaxBufferedBytes(4*maxBatchBytes),
		kgo.ProducerLinger(time.Millisecond),
	)
	if err != nil {
		return nil, err
	}
	return &Producer{client: client}, nil
}

// Close sends what is buffered, for up to five seconds, and closes the connections.
func (p *Producer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := p.client.Flush(ctx)
	p.client.Close()
	if err != nil {
		return fmt.Errorf("flush producer: %w", err)
	}
	return nil
}

// Send writes one record and calls done, from another goroutine, when it is
// acknowledged or has failed. Partition -1 lets the key decide. It blocks while
// the buffer is full.
func (p *Producer) Send(ctx context.Context, r *event.Record, done func(event.Position, error)) {
	record := &kgo.Record{
		Topic: r.Topic, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp,
		Headers: make([]kgo.RecordHeader, len(r.Headers)),
	}
	for i, h := range r.Headers {
		record.Headers[i] = kgo.RecordHeader(h)
	}
	p.client.Produce(ctx, record, func(sent *kgo.Record, err error) {
		if err != nil {
			go forgetOld(p.client, sent.Topic, err) // not from within the client's own callback
		}
		done(event.Position{Topic: sent.Topic, Partition: sent.Partition, Offset: sent.Offset, LeaderEpoch: -1}, err)
	})
}

// forgetOld has a client learn about a topic anew that err, if it is of writing there, tells
// to have been deleted and made again: kgo would refuse all later records. Who writes tries
// again.
func forgetOld(client *kgo.Client, topic string, err error) {
	if errors.Is(err, kerr.UnknownTopicID) {
		client.PurgeTopicsFromProducing(topic)
	}
}

// Letters writes dead letters to their topic.
type Letters struct {
	Producer *Producer
	Topic    string
	// References makes every letter headers only, whatever its record's size.
	References bool
}

// Write writes the letter of a record and returns when the broker has
// acknowledged it. A record too large for the topic is written as headers only,
// which refer to its source. When ctx ends it returns at once; the letter may be
// written all the same.
func (l Letters) Write(ctx context.Context, letter deadletter.Letter, r *event.Record) error {
	limit := maxBatchBytes
	if l.References {
		limit = 0
	}
	err := l.write(ctx, letter, r, limit)
	if errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) {
		err = l.write(ctx, letter, r, 0)
	}
	if err != nil {
		return fmt.Errorf("write dead letter %s: %w", letter.ID, err)
	}
	return nil
}

func (l Letters) write(ctx context.Context, letter deadletter.Letter, r *event.Record, maxBytes int) error {
	key, value, headers := deadletter.Encode(letter, r, maxBytes)
	acked := make(chan error, 1)
	l.Producer.Send(ctx, &event.Record{
		Position: event.Position{Topic: l.Topic}, Key: key, Value: value, Headers: headers,
	}, func(_ event.Position, err error) { acked <- err })
	select {
	case err := <-acked:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
