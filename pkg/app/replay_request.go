package app

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/kafka"
)

// ReplayRequest says what to replay.
type ReplayRequest struct {
	Target string
	// From and To are "earliest", a date or time, or offsets: TOPIC/PARTITION:OFFSET,
	// with commas between. An empty To stands for where the target is.
	From, To string
	// Every pushes each version, not only the newest of each key.
	Every bool
	// AllowOldVersions has versions pushed that are older than what the target has.
	AllowOldVersions bool
}

// RequestError says that a request can't be carried out as it stands.
type RequestError struct{ Err error }

func (e *RequestError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RequestError) Unwrap() error { return e.Err }

// bound is where a replay begins or ends: at a time, at places, else at the log's start.
type bound struct {
	flag, text string
	time       time.Time
	places     map[string]int64 // offsets by TOPIC/PARTITION
}

// bounds reads From and To, of which the latter may be nil. Its error is a [*RequestError].
func (q *ReplayRequest) bounds() (from, to *bound, err error) {
	if from, err = parseBound("--from", q.From); err != nil {
		return nil, nil, err
	}
	if q.To != "" {
		if to, err = parseBound("--to", q.To); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case from.time.After(time.Now()):
		return nil, nil, from.wrong("it is in the future")
	case to != nil && !to.time.IsZero() && !to.time.After(from.time):
		return nil, nil, to.wrong("it is not after --from")
	}
	return from, to, nil
}

func (b *bound) wrong(why string) error {
	return &RequestError{fmt.Errorf("%s %q: %s", b.flag, b.text, why)}
}

func parseBound(flag, text string) (*bound, error) {
	b := &bound{flag: flag, text: text}
	if text == "earliest" {
		return b, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		var err error
		if b.time, err = time.Parse(layout, text); err == nil {
			return b, nil
		}
	}
	b.places = map[string]int64{}
	for one := range strings.SplitSeq(text, ",") {
		where, offset, ok := strings.Cut(one, ":")
		n, err := strconv.ParseInt(offset, 10, 64)
		if !ok || err != nil || n < 0 || !strings.Contains(where, "/") {
			return nil, b.wrong("want earliest, a date or time such as 2026-11-01T06:00:00Z, or TOPIC/PARTITION:OFFSET,…")
		}
		b.places[where] = n
	}
	return b, nil
}

// offsets returns the offset that the bound is at on each partition, by place. Its errors
// are a [*RequestError], where a place is none of the group, and those of Kafka.
func (b *bound) offsets(ctx context.Context, adm *kafka.Admin, progress []kafka.PartitionProgress) (map[string]int64, error) {
	switch {
	case !b.time.IsZero():
		return adm.OffsetsAt(ctx, b.time)
	case b.places == nil:
		at := map[string]int64{}
		for _, p := range progress {
			at[place(&p)] = p.Start
		}
		return at, nil
	}
	for where, offset := range b.places {
		i := slices.IndexFunc(progress, func(p kafka.PartitionProgress) bool { return place(&p) == where })
		switch {
		case i < 0:
			return nil, b.wrong("the group reads no partition " + where)
		case offset > progress[i].End:
			return nil, b.wrong(fmt.Sprintf("%s ends at %d", where, progress[i].End))
		}
	}
	return b.places, nil
}

// place names a partition as a request does.
func place(p *kafka.PartitionProgress) string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }
