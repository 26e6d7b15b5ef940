package delivery

import (
	"errors"
	"time"
)

// fence keeps a target from starting an attempt that may outlast this process's
// membership of the group: by then another member has the partition, and may have
// pushed a later version.
type fence struct {
	up      bool      // Renew was called
	session time.Time // until when the group counts this process as its member
	closed  bool      // an attempt was refused, and none has passed since
}

// errFenced is the result of an attempt that did not come to its call in time.
var errFenced = errors.New("the session of this group member may run out before the attempt does")

// Renew tells until when the group counts this process as its member. From the
// first call on, an attempt starts only if its timeout ends before that.
func (e *Engine) Renew(session time.Time) {
	for _, t := range e.Targets {
		t.renew(session)
	}
}

func (t *Target) renew(session time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fence.up, t.fence.session = true, session
	if t.fence.closed && t.mayStart(time.Now()) {
		t.log.Info("attempts start again: the group has confirmed a heartbeat")
		t.pump()
	}
}

// within returns now, but no time after the session: what settles later, in a process
// that was stopped, is so known to be older than what the next owner has settled.
func (f *fence) within(now time.Time) time.Time {
	if !f.session.IsZero() && f.session.Before(now) {
		return f.session
	}
	return now
}

// mayStart reports whether an attempt that starts now ends within the session.
func (t *Target) mayStart(now time.Time) bool {
	open := !t.fence.up || now.Add(t.settings.Timeout).Before(t.fence.session)
	if !open && !t.fence.closed && !t.fence.session.IsZero() {
		t.log.Warn("no attempt starts until the group confirms a heartbeat again: another member may have the partitions",
			"session_ends", t.fence.session)
	}
	t.fence.closed = !open
	return open
}
