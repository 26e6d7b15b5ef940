package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// Receipts writes to the receipts topic. It is idempotent and waits for all in-sync
// replicas.
type Receipts struct {
	client *kgo.Client
	log    *slog.Logger
}

// NewReceipts returns one that reaches the cluster with its first write.
func NewReceipts(c Config, topic string, log *slog.Logger) (*Receipts, error) {
	client, err := c.dial(log,
		kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
			return func(r *kgo.Record, n int) int { return partitionOf(receipt.PartitionKey(r.Key), n) }
		})),
		// A commit waits for the write, so the write must end in time. What a write that
		// was given up had sent may still arrive; the next one writes the same or newer.
		kgo.AllowIdempotentProduceCancellation(),
	)
	if err != nil {
		return nil, err
	}
	return &Receipts{client: client, log: log}, nil
}

// byKey is Kafka's default partitioner. It has no state for a record with a key.
var byKey = kgo.StickyKeyPartitioner(nil).ForTopic("")

// partitionOf is the partition of a key, by murmur2, among n.
func partitionOf(key []byte, n int) int {
	if key == nil {
		key = []byte{}
	}
	return byKey.Partition(&kgo.Record{Key: key}, n)
}

// Close closes the connections.
func (w *Receipts) Close() { w.client.Close() }

// chunk is how many receipts are encoded at a time.
const chunk = 1000

// Write writes receipts and returns when the brokers have acknowledged them. With an
// error it also returns those that are left: they are not acknowledged, and may have been
// written all the same.
//
// A receipt that cannot be written at all, because its key is larger than the topic
// takes, is left out and reported: no commit may wait for it for ever.
func (w *Receipts) Write(ctx context.Context, receipts []receipt.Receipt) (left []receipt.Receipt, err error) {
	for len(receipts) > 0 && err == nil {
		n := min(chunk, len(receipts))
		left, err = w.writeChunk(ctx, receipts[:n])
		receipts = receipts[n:]
	}
	return append(left, receipts...), err
}

func (w *Receipts) writeChunk(ctx context.Context, receipts []receipt.Receipt) (left []receipt.Receipt, err error) {
	records := make([]*kgo.Record, len(receipts))
	for i := range receipts {
		key, value, err := receipts[i].Encode()
		if err != nil {
			return slices.Clone(receipts), err
		}
		records[i] = &kgo.Record{Key: key, Value: value}
	}
	failed, err := w.write(ctx, records)
	for i, r := range records {
		if failed[r] {
			left = append(left, receipts[i])
		}
	}
	return left, err
}

// WriteResolutions writes what became of dead letters, and returns when the brokers
// have acknowledged it. With an error, some may have been written.
func (w *Receipts) WriteResolutions(ctx context.Context, resolutions []receipt.Resolution) error {
	records := make([]*kgo.Record, 0, len(resolutions))
	for i := range resolutions {
		key, value, err := resolutions[i].Encode()
		if err != nil {
			return err
		}
		records = append(records, &kgo.Record{Key: key, Value: value})
	}
	_, err := w.write(ctx, records)
	return err
}

// WriteMember writes how this member is.
func (w *Receipts) WriteMember(ctx context.Context, m *receipt.Member) error {
	key, value, err := m.Encode()
	if err != nil {
		return err
	}
	_, err = w.write(ctx, []*kgo.Record{{Key: key, Value: value}})
	return err
}

// ForgetMember takes the record of a member away.
func (w *Receipts) ForgetMember(ctx context.Context, id string) error {
	_, err := w.write(ctx, []*kgo.Record{{Key: receipt.MemberKey(id)}})
	return err
}

// write returns those records that are not acknowledged, and the error of one of them.
func (w *Receipts) write(ctx context.Context, records []*kgo.Record) (failed map[*kgo.Record]bool, err error) {
	failed = map[*kgo.Record]bool{}
	for _, r := range w.client.ProduceSync(ctx, records...) {
		refused := r.Err
		if errors.Is(refused, kerr.MessageTooLarge) || errors.Is(refused, kerr.RecordListTooLarge) {
			if refused = nil; len(records) > 1 { // perhaps only the batch was
				_, refused = w.write(ctx, []*kgo.Record{{Key: r.Record.Key, Value: r.Record.Value}})
			} else {
				w.log.ErrorContext(ctx, "receipt is larger than its topic takes: it is not kept",
					"key_bytes", len(r.Record.Key), "value_bytes", len(r.Record.Value))
			}
		}
		if refused != nil {
			failed[r.Record] = true
			err = cmp.Or(err, fmt.Errorf("write receipts: %w", refused))
		}
	}
	if err != nil {
		forgetOld(w.client, records[0].Topic, err)
	}
	return failed, err
}

// ReceiptSpans is the part of the receipts topic in which keys lie (see
// [receipt.PartitionKey]). Since, unless zero, leaves out records with an earlier
// timestamp.
func (a *Admin) ReceiptSpans(ctx context.Context, topic string, keys [][]byte, since time.Time) ([]Span, error) {
	details, err := a.adm.ListTopics(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	spans, err := a.Spans(ctx, since, topic)
	if err != nil {
		return nil, err
	}
	wanted := map[int32]bool{}
	for _, key := range keys {
		wanted[int32(partitionOf(key, len(details[topic].Partitions)))] = true
	}
	return slices.DeleteFunc(spans, func(s Span) bool { return !wanted[s.Partition] }), nil
}

// ReadReceipts calls each for every record of [Admin.ReceiptSpans], those of a partition
// in order.
func (a *Admin) ReadReceipts(ctx context.Context, topic string, keys [][]byte, since time.Time, each func(key, value []byte)) error {
	spans, err := a.ReceiptSpans(ctx, topic, keys, since)
	if err != nil {
		return err
	}
	return a.Scan(ctx, spans, func(r *event.Record) error {
		each(r.Key, r.Value)
		return nil
	})
}
