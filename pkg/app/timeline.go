package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// Waiting is what became of a delivery that has not settled: nothing yet.
const Waiting = "waiting"

// Moment is one thing that happened to a policy at a target.
type Moment struct {
	Time   time.Time `json:"time"`
	Target string    `json:"target"`
	// What is an outcome of a delivery, [Waiting], or what became of a dead letter:
	// "redriven" or "discarded".
	What      string `json:"what"`
	Version   *int64 `json:"version,omitempty"`
	Deleted   bool   `json:"deleted,omitempty"`
	Attempts  int    `json:"attempts,omitempty"`
	Topic     string `json:"topic,omitempty"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Trace     string `json:"trace,omitempty"`
	Reference string `json:"reference,omitempty"`
	Class     string `json:"class,omitempty"`
	Error     string `json:"error,omitempty"`
	Letter    string `json:"letter,omitempty"`
	// By and Reason are those of a resolution, Result is how a redriven letter settled.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	Result string `json:"result,omitempty"`
}

// PolicyTimeline is a policy, and what happened to it as far as the topics still have it.
type PolicyTimeline struct {
	*PolicyStatus
	// Timeline has the newest first.
	Timeline []Moment `json:"timeline"`
	// Searched and Unsettled are how many of how many offsets that some target has not
	// settled were searched for the policy.
	Searched  int64 `json:"searched"`
	Unsettled int64 `json:"unsettled"`
}

// maxSearched bounds the offsets that are searched for what waits; the newest are.
const maxSearched = 20_000

// Timeline reads what is known of one policy, from its receipts, the resolutions of its
// dead letters, and what no target has settled yet.
func (p *Previewer) Timeline(ctx context.Context, key string, log *slog.Logger) (*PolicyTimeline, error) {
	cfg := p.plan.cfg
	t := &PolicyTimeline{Timeline: []Moment{}}
	var err error
	if t.PolicyStatus, err = ReadPolicy(ctx, cfg, key, log); err != nil {
		return nil, err
	}
	letters := map[string]*receipt.Receipt{}
	for _, r := range t.receipts {
		t.Timeline = append(t.Timeline, momentOf(r))
		if r.Letter != "" {
			letters[r.Letter] = r
		}
	}
	if len(letters) > 0 {
		err := t.resolve(ctx, p, letters, log)
		if err != nil {
			return nil, err
		}
	}
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	if err := t.wait(ctx, p, adm); err != nil {
		return nil, fmt.Errorf("search for what waits: %w", err)
	}
	slices.SortStableFunc(t.Timeline, func(a, b Moment) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.Offset, a.Offset))
	})
	return t, nil
}

func momentOf(r *receipt.Receipt) Moment {
	m := Moment{
		Time: r.Time, Target: r.Target, What: r.Outcome, Deleted: r.Deleted, Attempts: r.Attempts,
		Topic: r.Source.Topic, Partition: r.Source.Partition, Offset: r.Source.Offset,
		Trace: r.Trace, Reference: r.Reference, Class: r.Class, Error: r.Error, Letter: r.Letter,
	}
	if r.HasVersion {
		m.Version = &r.Version
	}
	return m
}

// resolve adds what became of dead letters.
func (t *PolicyTimeline) resolve(ctx context.Context, p *Previewer, letters map[string]*receipt.Receipt, log *slog.Logger) error {
	l, err := OpenLetters(p.plan.cfg, log)
	if err != nil {
		return err
	}
	defer l.Close()
	var problems []error
	err = l.resolutions(ctx, func(r *receipt.Resolution) {
		if of := letters[r.Letter]; of != nil {
			m := momentOf(of)
			m.Time, m.What, m.By, m.Reason, m.Result = r.Time, r.Outcome, r.By, r.Reason, r.Result
			m.Trace, m.Reference, m.Attempts = "", "", 0
			t.Timeline = append(t.Timeline, m)
		}
	}, &problems)
	for _, problem := range problems {
		t.Problems = append(t.Problems, problem.Error())
	}
	return err
}

// wait adds the versions that targets have not settled.
func (t *PolicyTimeline) wait(ctx context.Context, p *Previewer, adm *kafka.Admin) error {
	progress, err := adm.Progress(ctx)
	if err != nil {
		return err
	}
	type place struct {
		topic     string
		partition int32
	}
	at := map[place]*kafka.PartitionProgress{}
	var spans []kafka.Span
	for i := range progress {
		g := &progress[i]
		at[place{g.Topic, g.Partition}] = g
		if from := max(lowest(g, p.plan.names()), g.Start); from < g.End {
			spans = append(spans, kafka.Span{Topic: g.Topic, Partition: g.Partition, Start: from, End: g.End})
			t.Unsettled += g.End - from
		}
	}
	for i := range spans {
		s := &spans[i]
		s.Start = max(s.Start, s.End-maxSearched/int64(len(spans)))
		t.Searched += s.End - s.Start
	}
	return adm.Scan(ctx, spans, func(r *event.Record) error {
		ev, verdicts, err := p.routed(ctx, r, t.Key)
		if err != nil {
			if !errors.Is(err, errOtherPolicy) {
				t.Problems = append(t.Problems, fmt.Sprintf("%s: %v", r.Position, err))
			}
			return nil
		}
		g := at[place{r.Topic, r.Partition}]
		for i, name := range p.plan.names() {
			if verdicts[i].Deliver && !settled(g, name, r.Offset) {
				m := Moment{
					Time: r.Timestamp.UTC(), Target: name, What: Waiting, Deleted: ev.Tombstone(),
					Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
				}
				if ev.HasVersion {
					m.Version = &ev.Version
				}
				t.Timeline = append(t.Timeline, m)
			}
		}
		return nil
	})
}

// lowest is the lowest offset of a partition that one of the targets may not have settled.
func lowest(g *kafka.PartitionProgress, targets []string) int64 {
	low := g.End
	for _, l := range g.Lanes {
		if slices.Contains(targets, l.Name) {
			low = min(low, l.Cursor.Next())
		}
	}
	if len(g.Lanes) == 0 {
		return g.Committed
	}
	return low
}

func settled(g *kafka.PartitionProgress, target string, offset int64) bool {
	for _, l := range g.Lanes {
		if l.Name == target {
			return l.Cursor.Settled(offset)
		}
	}
	return false
}
