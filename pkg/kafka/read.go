package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
)

// ReadRecord is [Admin.Record] for those who read nothing else.
func ReadRecord(ctx context.Context, c Config, topic string, partition int32, offset int64, log *slog.Logger) (*event.Record, error) {
	adm, err := NewAdmin(c, log)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	return adm.Record(ctx, topic, partition, offset)
}

// errRead ends a scan that has found what it is for.
var errRead = errors.New("read")

// Record reads the one record at an offset. An offset that the log does not hold, or no
// longer, is an error that says what it holds.
func (a *Admin) Record(ctx context.Context, topic string, partition int32, offset int64) (*event.Record, error) {
	at := fmt.Sprintf("read record %s/%d/%d", topic, partition, offset)
	spans, err := a.bounds(ctx, time.Time{}, topic)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	i := slices.IndexFunc(spans, func(s Span) bool { return s.Partition == partition })
	if i < 0 {
		return nil, fmt.Errorf("%s: there is no such partition", at)
	}
	switch s := &spans[i]; {
	case s.Start >= s.End:
		return nil, fmt.Errorf("%s: the log holds no record", at)
	case offset < s.Start || offset >= s.End:
		return nil, fmt.Errorf("%s: the log holds offsets from %d to %d", at, s.Start, s.End-1)
	default:
		s.Start = offset
	}
	var found *event.Record
	err = a.Scan(ctx, spans[i:i+1], func(r *event.Record) error {
		found = r
		return errRead
	})
	switch {
	case err != nil && !errors.Is(err, errRead):
		return nil, fmt.Errorf("%s: %w", at, err)
	case found == nil:
		return nil, fmt.Errorf("%s: there is none (compacted away, or a transaction's marker)", at)
	case found.Offset > offset:
		return nil, fmt.Errorf("%s: there is none (compacted away, or a transaction's marker); the next one is at %d", at, found.Offset)
	}
	return found, nil
}
