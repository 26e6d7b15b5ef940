package kafka

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/event"
)

// ReadRecord reads the one record at an offset. An offset that the log does not
// hold, or no longer, is an error that says what it holds. The position lacks the
// topic id.
func ReadRecord(ctx context.Context, c Config, topic string, partition int32, offset int64, log *slog.Logger) (*event.Record, error) {
	at := fmt.Sprintf("read record %s/%d/%d", topic, partition, offset)
	adm, err := NewAdmin(c, log)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	defer adm.Close()
	starts, err := adm.adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("%s: list start offsets: %w", at, err)
	}
	ends, err := adm.adm.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("%s: list end offsets: %w", at, err)
	}
	start, _ := starts.Lookup(topic, partition)
	end, ok := ends.Lookup(topic, partition)
	switch {
	case !ok:
		return nil, fmt.Errorf("%s: there is no such partition", at)
	case end.Err != nil:
		return nil, fmt.Errorf("%s: %w", at, end.Err)
	case start.Offset == end.Offset:
		return nil, fmt.Errorf("%s: the log holds no record", at)
	case offset < start.Offset || offset >= end.Offset:
		return nil, fmt.Errorf("%s: the log holds offsets from %d to %d", at, start.Offset, end.Offset-1)
	}
	client, err := c.dial(log, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxBytes(16<<20), kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(offset)}}))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	defer client.Close()
	for {
		fetches := client.PollRecords(ctx, 1)
		if err := fetches.Err0(); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		for r := range fetches.RecordsAll() {
			if r.Offset > offset {
				return nil, fmt.Errorf("%s: there is none (compacted away, or a transaction's marker); the next one is at %d", at, r.Offset)
			}
			record := toRecord(r, event.TopicID{})
			return &record, nil
		}
	}
}
