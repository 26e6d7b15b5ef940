package delivery

import (
	"container/heap"
	"slices"

	"github.com/hms-sme/policysync/pkg/receipt"
)

// This file is conflation, `deliver: latest`: of a key, at most one version waits
// besides the one in flight. What keeps it correct over a restart:
//
//   - A superseded offset settles while the version that replaced it still waits. That
//     one's own offset has not settled, so a restart reads it again.
//   - No checkpoint needs to record what was superseded: a restart reads it again and
//     conflates it again. But before a version is attempted, all older ones of its key
//     must be recorded, or a restart could push them after it. So an attempt has
//     everything below its offset recorded; above every attempt nothing is. That fits,
//     since what waits is admitted in the order of offsets: little is left below.

// replaceable returns the delivery that a newer version of its key replaces: the last
// of the key, unless it is in flight. One whose turn to be pushed has come, had it kept
// its place, is not replaced once more, if there is room for the newer one behind it:
// else a key that changes all the time would be put off for as long as others wait.
func (l *Lane) replaceable(key string, room bool) *pending {
	q := l.keys[key]
	if q == nil {
		return nil
	}
	p := q.entries[len(q.entries)-1]
	if !l.conflates(p) {
		return nil
	}
	switch p.state {
	case flying:
		return nil
	case ready, parked:
		if room && l.turned(p.turn) {
			return nil
		}
	case queued, waiting, replaced:
	}
	return p
}

// turned reports whether the turn of a key has come, had it kept its place: all that
// waits beyond the window is before it too.
func (l *Lane) turned(turn int) bool { return l.pushed >= turn+l.ahead.most }

// successor returns the newer version that replaces p, which has come back from an
// attempt; nil if there is none. One of which it is not known whether the target wants
// it replaces nothing.
func (l *Lane) successor(p *pending) *pending {
	q := p.queue
	if !l.conflates(p) || len(q.entries) < 2 || q.entries[0] != p || q.entries[1].unrouted != nil || q.entries[1].again != nil {
		return nil
	}
	return q.entries[1]
}

// supersede settles old because p, the next version of its key, takes its place in the
// key's queue; the caller makes p ready. Among other keys it gets a new place, in the
// order of offsets. A failure is the key's: a back-off is taken over, so that a key that
// changes often is not asked for more often, the wait goes on growing, and the breaker
// hears of it once. But p has all its attempts.
func (l *Lane) supersede(old, p *pending) {
	p.superseded, p.since, p.turn = p.superseded+old.superseded+1, old.since, old.turn
	if old.failed() > 0 && old.sendable() {
		p.before, p.counted, p.lastSuccess, p.lastClass = old.failed(), old.counted, old.lastSuccess, old.lastClass
		p.due = old.due
	}
	l.withdraw(old)
}

// withdraw settles a delivery that gives way to a newer version.
func (l *Lane) withdraw(old *pending) {
	switch old.state {
	case ready:
		l.t.ready.replace(old)
	case parked:
		i, _ := l.parkedAt(old.d.Event.Offset)
		l.parked = slices.Delete(l.parked, i, i+1)
	case waiting:
		heap.Remove(&l.t.backoff, old.at)
	case queued, flying, replaced:
	}
	l.settle(old, receipt.Superseded)
}

// failed is the number of attempts at the delivery, and at those it replaced.
func (p *pending) failed() int { return p.before + p.tries }
