package delivery

import (
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/hms-sme/policysync/pkg/telemetry"
)

// Snapshot is what the metrics show of the targets and lanes of this process.
func (e *Engine) Snapshot() telemetry.Snapshot {
	s := telemetry.Snapshot{Targets: make([]telemetry.TargetSnapshot, len(e.Targets))}
	for i, t := range e.Targets {
		s.Targets[i] = t.snapshot(time.Now())
	}
	return s
}

func (t *Target) snapshot(now time.Time) telemetry.TargetSnapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := telemetry.TargetSnapshot{
		Target: t.name, InFlight: t.flying, Breaker: t.breaker.state.String(), Paused: t.paused, Held: t.hold.active, Fenced: t.fence.closed,
		Throttled: now.Before(t.quiet),
		Lanes:     make([]telemetry.LaneSnapshot, 0, len(t.lanes)),
	}
	oldest := now
	for l := range t.lanes {
		s.Lanes = append(s.Lanes, telemetry.LaneSnapshot{
			Topic: l.p.Topic, Partition: l.p.Partition,
			Lag:        max(0, l.p.end.Load()-l.cursor.Next()),
			Deliveries: l.weight(len(l.keys), l.count), WindowDeliveries: t.settings.Window.Deliveries,
			Bytes: l.bytes, WindowBytes: l.capacity(),
		})
		for _, q := range l.keys {
			if at := q.entries[0].since; at.Before(oldest) {
				oldest = at
			}
		}
	}
	s.OldestWaiting = now.Sub(oldest)
	if t.failure != nil && (s.Held || t.breaker.state != gobreaker.StateClosed) {
		s.Failure = t.failure.Error()
	}
	t.tally.show(&s)
	return s
}

// Stuck returns an error if a partition's goroutine has worked on one record for
// longer than limit. Waiting for room, for a dead letter or for the registry is no
// work.
func (e *Engine) Stuck(limit time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for p := range e.live {
		since := p.busy.Load()
		if since == 0 {
			continue
		}
		if took := time.Since(time.Unix(0, since)); took > limit {
			return fmt.Errorf("%s/%d: one record takes %s", p.Topic, p.Partition, took.Round(time.Second))
		}
	}
	return nil
}
