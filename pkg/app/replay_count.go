package app

import (
	"context"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// maxCounted is up to how many offsets a replay is counted by reading them.
const maxCounted = 200_000

// ReplayCount is what a replay would send of one partition.
type ReplayCount struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// From is the first offset, To one past the last: where the target is now, unless the
	// request ends before.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Events is how many the target wants of them, Policies how many policies they are of;
	// both are nil if the offsets were too many to read. The offsets bound them from above.
	Events   *int64 `json:"events,omitempty"`
	Policies *int64 `json:"policies,omitempty"`
}

// CountReplay says what a replay would send if it began now, and commands nothing.
// Progress hears how many records are read, by what previewer returns.
func CountReplay(ctx context.Context, adm *kafka.Admin, r *control.Replay, previewer func() (*Previewer, error),
	progress func(read, all int64),
) ([]ReplayCount, error) {
	at, err := adm.Progress(ctx)
	if err != nil {
		return nil, err
	}
	counts, all := []ReplayCount{}, int64(0)
	for _, g := range r.Ranges {
		c := ReplayCount{Topic: g.Topic, Partition: g.Partition, From: g.From, To: reached(at, g, r.Target)}
		if g.To != nil {
			c.To = min(c.To, *g.To)
		}
		c.To = max(c.To, c.From)
		all += c.To - c.From
		counts = append(counts, c)
	}
	if all > maxCounted {
		return counts, nil
	}
	p, err := previewer()
	if err != nil {
		return nil, err
	}
	t, err := p.plan.wanted(r.Target)
	if err != nil {
		return nil, err
	}
	spans, err := adm.Spans(ctx, time.Time{}, t.topics()...)
	if err != nil {
		return nil, err
	}
	of := func(topic string, partition int32) int {
		return slices.IndexFunc(counts, func(c ReplayCount) bool { return c.Topic == topic && c.Partition == partition })
	}
	for i := range counts {
		counts[i].Events, counts[i].Policies = new(int64), new(int64)
	}
	for i := range spans {
		s := &spans[i]
		if n := of(s.Topic, s.Partition); n >= 0 {
			s.Start, s.End = max(s.Start, counts[n].From), min(s.End, counts[n].To)
		} else {
			s.End = s.Start
		}
	}
	spans = slices.DeleteFunc(spans, func(s kafka.Span) bool { return s.Start >= s.End })
	type policy struct {
		of  int
		key string
	}
	seen := map[policy]struct{}{}
	err = t.scan(ctx, adm, spans, progress, func(*event.Record) bool { return true }, func(ev *event.Event) {
		n := of(ev.Topic, ev.Partition)
		*counts[n].Events++
		before := len(seen)
		seen[policy{n, ev.Key}] = struct{}{}
		if !ev.HasKey || len(seen) > before {
			*counts[n].Policies++
		}
	})
	return counts, err
}

// reached is one past the highest offset that a target has settled on a partition, or
// would begin with.
func reached(progress []kafka.PartitionProgress, g control.Range, target string) int64 {
	for _, p := range progress {
		if p.Topic != g.Topic || p.Partition != g.Partition {
			continue
		}
		for _, l := range p.Lanes {
			if l.Name == target {
				return l.Cursor.Highest()
			}
		}
		return p.Committed
	}
	return 0
}
