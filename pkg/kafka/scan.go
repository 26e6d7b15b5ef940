package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/event"
)

// Span is the part of one partition that a scan reads: from Start up to End,
// exclusive.
type Span struct {
	Topic      string
	TopicID    event.TopicID
	Partition  int32
	Start, End int64
}

// Spans are what the topics hold at present, up to the first transaction that is
// still open. Since, unless zero, leaves out records with an earlier timestamp. A
// partition that holds nothing has none.
func (a *Admin) Spans(ctx context.Context, since time.Time, topics ...string) ([]Span, error) {
	spans, err := a.bounds(ctx, since, topics...)
	return slices.DeleteFunc(spans, func(s Span) bool { return s.Start >= s.End }), err
}

// bounds are the spans of all partitions, also of those that hold nothing.
func (a *Admin) bounds(ctx context.Context, since time.Time, topics ...string) ([]Span, error) {
	details, err := a.adm.ListTopics(ctx, topics...)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	list := a.adm.ListStartOffsets
	if !since.IsZero() {
		list = func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
			return a.adm.ListOffsetsAfterMilli(ctx, since.UnixMilli(), topics...)
		}
	}
	starts, err := list(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("list start offsets: %w", err)
	}
	ends, err := a.adm.ListCommittedOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("list end offsets: %w", err)
	}
	if err := errors.Join(starts.Error(), ends.Error()); err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	var spans []Span
	for _, topic := range details.Sorted() {
		for _, p := range topic.Partitions.Sorted() {
			start, _ := starts.Lookup(topic.Topic, p.Partition)
			end, _ := ends.Lookup(topic.Topic, p.Partition)
			spans = append(spans, Span{
				Topic: topic.Topic, TopicID: event.TopicID(topic.ID), Partition: p.Partition,
				Start: start.Offset, End: end.Offset,
			})
		}
	}
	return spans, nil
}

// Scan calls each for every committed record of the spans: in order within a
// partition, in no order between them. An error of each ends it.
func (a *Admin) Scan(ctx context.Context, spans []Span, each func(*event.Record) error) error {
	type partition struct {
		topic string
		id    int32
	}
	open := map[partition]Span{}
	starts := map[string]map[int32]kgo.Offset{}
	for _, s := range spans {
		open[partition{s.Topic, s.Partition}] = s
		if starts[s.Topic] == nil {
			starts[s.Topic] = map[int32]kgo.Offset{}
		}
		starts[s.Topic][s.Partition] = kgo.NewOffset().At(s.Start)
	}
	if len(open) == 0 {
		return nil
	}
	// What is fetched may grow tenfold when it is decompressed. A marker of a transaction may
	// be the last of a span.
	client, err := a.config.dial(a.log, kgo.ConsumePartitions(starts), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.FetchMaxBytes(4<<20), kgo.FetchMaxPartitionBytes(256<<10), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err != nil {
		return err
	}
	defer client.Close()
	for len(open) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read topics: %w", err)
		}
		for r := range fetches.RecordsAll() {
			at := partition{r.Topic, r.Partition}
			span, reading := open[at]
			if reading && r.Offset < span.End && !r.Attrs.IsControl() {
				record := toRecord(r, span.TopicID)
				if err := each(&record); err != nil {
					return err
				}
			}
			if reading && r.Offset+1 >= span.End {
				delete(open, at)
				client.PauseFetchPartitions(map[string][]int32{r.Topic: {r.Partition}})
			}
		}
	}
	return nil
}
