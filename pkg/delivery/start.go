package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/checkpoint"
)

// Start is where a target begins that the checkpoint does not know. The zero value
// is now: at the highest cursor of the others.
type Start struct {
	// Earliest is the beginning of the log.
	Earliest bool
	// At is the first record that is not older; zero unless given.
	At time.Time
}

// UnmarshalText reads now, earliest, a date (in UTC) or a time (RFC 3339).
func (s *Start) UnmarshalText(text []byte) error {
	switch *s = (Start{}); string(text) {
	case "now":
		return nil
	case "earliest":
		s.Earliest = true
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, string(text)); err == nil {
			s.At = at
			return nil
		}
	}
	return fmt.Errorf("%q is no start: want now, earliest, a date such as 2026-11-01 or a time such as 2026-11-01T06:00:00Z", text)
}

// String is as in the config.
func (s Start) String() string {
	switch {
	case s.Earliest:
		return "earliest"
	case s.At.IsZero():
		return "now"
	}
	return s.At.Format(time.RFC3339)
}

// restoring works out where the lanes of an assignment begin.
type restoring struct {
	*Assignment
	engine *Engine
	source Source
	log    *slog.Logger

	base  int64 // where a lane begins that knows nothing better
	whole bool  // the checkpoint was usable: a target that it lacks is new
	epoch int32
	saved map[string]checkpoint.Lane
	// changed: what the lanes begin with is not what the commit says.
	changed bool
}

// restore sets the lanes of the engine's targets, in its order, and those that are
// carried on for other members. Its errors are those of the source.
func (e *Engine) restore(ctx context.Context, p *Partition) (lanes []checkpoint.Lane, err error) {
	r := &restoring{
		Assignment: &p.Assignment, engine: e, source: p.source, epoch: -1, saved: map[string]checkpoint.Lane{},
		log: e.Logger.With("topic", p.Topic, "partition", p.Partition),
	}
	r.read()
	if err := r.forget(ctx); err != nil {
		return nil, err
	}
	now := r.base
	for _, l := range r.saved {
		now = max(now, l.Cursor.Next())
	}
	for _, t := range e.Targets {
		l, ok := r.saved[t.name]
		if !ok {
			next, err := r.begin(ctx, t, now)
			if err != nil {
				return nil, err
			}
			l = checkpoint.Lane{Name: t.name, Cursor: checkpoint.New(next), Control: -1}
			r.changed = true
		}
		if l.Control < 0 { // it obeys what is commanded from now on
			l.Control = e.orders.end()
			r.changed = true
		}
		if e.orders.cancels(&l, l.Cursor) {
			p.takeBack(&l)
			r.changed = true
		}
		delete(r.saved, t.name)
		if next := l.Cursor.Next(); next < r.LogStart {
			e.reportLost(r.Assignment, t.name, l.Cursor, next, r.LogStart)
			l.Cursor.SettleRange(next, r.LogStart)
			r.changed = true
		}
		lanes = append(lanes, l)
	}
	p.carried = slices.Collect(maps.Values(r.saved))
	if r.changed { // so that a restart finds the same, whatever it would then work out
		p.dirty.Store(1)
	}
	return lanes, nil
}

// read takes from the commit what it is good for.
func (r *restoring) read() {
	r.base = r.Committed
	if r.Committed < 0 {
		r.base = r.LogStart
		if r.Added {
			r.log.Warn("this partition is new to the group, which reads others of the topic: every target starts at the beginning of the log",
				"offset", r.base)
			return
		}
		r.log.Warn("the group has no committed offset here: every target without a time to start from starts at the beginning of the log",
			"offset", r.base)
		return
	}
	cp, err := checkpoint.Decode(r.Metadata, r.Committed, r.TopicID)
	mismatch, _ := errors.AsType[*checkpoint.MismatchError](err)
	switch {
	case errors.Is(err, checkpoint.ErrEmpty):
		r.log.Info("the commit carries no cursors: every target starts at the committed offset", "offset", r.base)
	case mismatch != nil && mismatch.OtherTopic():
		// The offset is of the log that is gone, and says nothing of this one.
		r.base = r.LogStart
		r.log.Error("the commit's cursors are not usable, nor is its offset, which is of a former topic: every target starts at the beginning of the log",
			"committed", r.Committed, "offset", r.base, "err", err)
	case err != nil:
		r.log.Error("the commit's cursors are not usable: every target starts at the committed offset", "offset", r.base, "err", err)
	default:
		r.whole, r.epoch = true, cp.LeaderEpoch
		for _, l := range cp.Lanes {
			r.saved[l.Name] = l
		}
	}
}

// forget takes back what settled beyond the point at which the log was cut: those
// offsets are, or will be, other records.
func (r *restoring) forget(ctx context.Context) error {
	highest := r.base
	for _, l := range r.saved {
		highest = max(highest, l.Cursor.Highest())
	}
	cut, err := r.cut(ctx, highest)
	if err != nil || cut >= highest {
		return err
	}
	r.changed = true
	r.engine.Metrics.Truncated(r.Topic)
	r.log.ErrorContext(ctx, "the log was cut: what targets had settled beyond that is forgotten, and what stands there now is delivered",
		"from", cut, "to", highest-1, "log_end", r.LogEnd)
	r.base = min(r.base, cut)
	for name, l := range r.saved {
		from := cut
		if !r.engine.pushesEvery(name) {
			// A version that still waited may be gone, and those that it replaced have
			// settled: nobody knows any more where they are. So it may be with a target
			// that the config lacks.
			from = r.LogStart
		}
		if to := l.Cursor.Highest(); to > from {
			r.log.ErrorContext(ctx, "target goes back", "target", name, "from", from, "to", to-1)
			l.Cursor.Forget(from)
			if l.Replay != nil {
				l.Replay.Former = min(l.Replay.Former, from)
			}
		}
	}
	return nil
}

// pushesEvery reports whether the target of this name is one that has `deliver: every`.
func (e *Engine) pushesEvery(name string) bool {
	return slices.ContainsFunc(e.Targets, func(t *Target) bool { return t.name == name && !t.latest })
}

// cut returns the offset up to which the log is the one that was settled to highest:
// highest or more, if it was not cut. Where that can't be known it is the log's start,
// since nothing may be lost.
func (r *restoring) cut(ctx context.Context, highest int64) (int64, error) {
	if r.epoch < 0 {
		if highest > r.LogEnd {
			return r.LogStart, nil
		}
		return highest, nil
	}
	end, err := r.source.EpochEnd(ctx, r.epoch)
	if err != nil {
		return 0, err
	}
	if end < 0 { // the log never had a leader that we have read from: it was restored from somewhere
		return r.LogStart, nil
	}
	return end, nil
}

// begin returns the offset at which a target begins that the checkpoint lacks.
func (r *restoring) begin(ctx context.Context, t *Target, now int64) (next int64, err error) {
	start := t.settings.Start
	switch fresh := r.Committed < 0 && !r.Added; {
	case !start.At.IsZero() && (fresh || r.whole):
		next, err = r.source.OffsetAt(ctx, start.At)
	case !r.whole:
		return r.base, nil
	case start.Earliest:
		next = r.LogStart
	default:
		next = now
	}
	if err == nil {
		r.log.InfoContext(ctx, "target is new here", "target", t.name, "start", start.String(), "offset", next)
	}
	return next, err
}

// reportLost reports each range of the offsets from (inclusive) to (exclusive),
// which have left the log, that a target had not settled.
func (e *Engine) reportLost(a *Assignment, target string, c *checkpoint.Cursor, from, to int64) {
	for from = c.NextUnsettled(from); from < to; {
		end := to
		for _, run := range c.Runs() {
			if run.From > from {
				end = min(end, run.From)
			}
		}
		e.Logger.Error("records were deleted from the log before they were delivered: lost before delivery",
			"topic", a.Topic, "partition", a.Partition, "target", target, "from", from, "to", end-1)
		e.Metrics.Lost(target, end-from)
		from = c.NextUnsettled(end)
	}
}
