package delivery

import (
	"container/heap"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/control"
)

// Obey does what an operator's record says. Records come in the order of the control
// topic; all up to its end must have come before the first Assign, so that no lane
// starts what an operator has forbidden. A target that the engine lacks is another
// member's.
func (e *Engine) Obey(offset int64, r control.Record) {
	switch r := r.(type) {
	case *control.Pause:
		if t := e.target(r.Target); t != nil {
			t.setPaused(r)
		}
	case *control.Accept:
		if t := e.target(r.Target); t != nil {
			t.acceptLetters(r)
		}
	case *control.Replay:
		e.orders.add(offset, r)
	}
	e.orders.reach(offset + 1)
}

func (e *Engine) target(name string) *Target {
	i := slices.IndexFunc(e.Targets, func(t *Target) bool { return t.name == name })
	if i < 0 {
		return nil
	}
	return e.Targets[i]
}

// setPaused stops or starts the target. What is in flight goes on; nothing else
// starts, so the lanes fill and detach, and catch up later.
func (t *Target) setPaused(r *control.Pause) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.paused == r.Paused {
		return
	}
	t.paused = r.Paused
	if t.paused {
		t.log.Warn("target is paused", "by", r.By, "at", r.Time, "reason", r.Reason)
		return
	}
	t.log.Warn("target is resumed", "by", r.By, "at", r.Time, "reason", r.Reason)
	// The pause was not the target's outage.
	for l := range t.lanes {
		for _, q := range l.keys {
			for _, p := range q.entries {
				p.downSince = time.Time{}
			}
		}
	}
	t.pump()
}

// acceptLetters releases the target from its hold: what fails for good of the events up
// to a time becomes a dead letter, and makes nobody doubt the target.
func (t *Target) acceptLetters(r *control.Accept) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.accepted = r.UpTo
	t.hold.recent = nil
	t.hold.release()
	t.cutBackOffs(connector.Permanent)
	t.pump()
}

// cutBackOffs ends the back-offs of deliveries whose last attempt failed with a class.
func (t *Target) cutBackOffs(class connector.Class) {
	now := time.Now()
	cut := func(waiting []*pending) {
		for _, p := range waiting {
			if p.lastClass == class {
				p.due = now
			}
		}
	}
	cut(t.backoff)
	heap.Init(&t.backoff)
	for l := range t.lanes {
		cut(l.parked)
	}
}
