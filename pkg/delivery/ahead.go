package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
	"github.com/hms-sme/policysync/pkg/route"
)

// This file lets a `latest` lane conflate what has no room in its window: of the records
// that it was not offered yet it knows the newest version of each key.
//
//   - The live feed, which decodes and routes each record anyway, notes them for the lanes
//     that are detached. So a full lane detaches even if it is the last, and the live feed
//     runs ahead of it. A lane that begins behind the live feed looks ahead by itself.
//   - Only a version that the target wants, and that has not settled, is noted. Older ones
//     settle because of it as they do for one in the window (latest.go): it stays below no
//     cursor until it was offered, so a restart or a lost note costs pushes and no version.
//   - The notes have a memory of their own. What finds no room in it is conflated less.

// noteSize is what a note takes in memory, beside the bytes of its key.
const noteSize = 100

// ahead are the notes of a lane.
type ahead struct {
	notes map[string]note
	bytes int64
	most  int  // how many keys it knew at a time
	full  bool // a version was not noted
}

// note is the newest known version of a key.
type note struct {
	offset int64
	// What it takes over from the versions that gave way to it; see pending.
	superseded, turn int
	since            int64 // in unix nanoseconds, which take less than a time.Time
}

// wants reports whether a target is known to want what a verdict is about.
func wants(v route.Verdict) bool { return v.Deliver && v.Err == nil }

// noteAhead has the detached lanes know of a record before they are offered it.
func (p *Partition) noteAhead(ev *event.Event, verdicts []route.Verdict) {
	p.feeding.Lock()
	defer p.feeding.Unlock()
	for _, l := range p.lanes {
		if !l.attached && l.t.latest && wants(verdicts[l.index]) {
			l.note(ev)
		}
	}
}

// looksAhead reports whether the lane can still use what the live feed finds ahead of it.
func (l *Lane) looksAhead() bool {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	return l.t.latest && !l.ahead.full && !l.draining
}

// note takes a version's offset. What waits of its key in the window gives way at once,
// unless it backs off for what it is. The last one stays: a target in doubt is asked by it.
func (l *Lane) note(ev *event.Event) {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	if l.draining || !ev.HasKey || l.cursor.Settled(ev.Offset) {
		return
	}
	n, known := l.ahead.notes[ev.Key]
	switch {
	case known && n.offset >= ev.Offset:
		return
	case !known && !l.holdNote(noteSize+int64(len(ev.Key))):
		l.ahead.full = true
		return
	}
	n.offset = ev.Offset
	old := l.replaceable(ev.Key, true)
	if old != nil && (!old.blameless() || l.count == 1) {
		old = nil
	}
	if old != nil {
		n.superseded, n.turn, n.since = n.superseded+old.superseded+1, old.turn, old.since.UnixNano()
	}
	l.ahead.put(ev.Key, n)
	if old != nil {
		l.withdraw(old)
		l.t.pump()
	}
}

// blameless reports whether no failure says anything about the delivery's key.
func (p *pending) blameless() bool {
	return p.failed() == 0 || p.lastClass == connector.Unavailable
}

// holdNote takes memory for a note, if there is any.
func (l *Lane) holdNote(bytes int64) bool {
	b := &l.p.engine.notes
	if l.ahead.bytes+bytes > b.most(l.ahead.bytes) {
		return false
	}
	l.ahead.bytes += bytes
	b.held.Add(bytes)
	return true
}

func (a *ahead) put(key string, n note) {
	if a.notes == nil {
		a.notes = map[string]note{}
	}
	a.notes[key] = n
	a.most = max(a.most, len(a.notes))
}

// givesWay reports whether a version is passed over, since a newer one of its key is
// noted and the key's turn has not come.
func (l *Lane) givesWay(ev *event.Event) bool {
	if !l.t.latest { // it has no notes
		return false
	}
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	n, ok := l.ahead.notes[queueKey(ev)]
	if !ok || n.offset <= ev.Offset || n.superseded > 0 && l.turned(n.turn) {
		return false
	}
	if n.superseded == 0 {
		n.turn, n.since = l.pushed+l.count+1, ev.Timestamp.UnixNano()
	}
	n.superseded++
	l.ahead.put(ev.Key, n)
	return true
}

// passOver settles a version that gives way.
func (l *Lane) passOver(ctx context.Context, ev *event.Event) {
	l.pass(ev.Offset, receipt.Superseded, func() {
		l.cursor.SettleRange(ev.Offset, ev.Offset+1)
		l.keepPassedOver(ctx, ev)
	})
}

// inherit gives p, which is offered, what it takes over from versions that were passed
// over or withdrawn.
func (l *Lane) inherit(p *pending) {
	n, ok := l.ahead.notes[p.d.Key]
	if !ok {
		return
	}
	if n.superseded > 0 {
		p.superseded, p.turn, p.since = n.superseded, n.turn, time.Unix(0, n.since)
	}
	if n.offset > p.d.Event.Offset { // the turn had come
		l.ahead.put(p.d.Key, note{offset: n.offset})
		return
	}
	delete(l.ahead.notes, p.d.Key)
	l.holdNote(-noteSize - int64(len(p.d.Key)))
}

// forgetAhead drops all notes: the lane was offered what they are about, or has ended.
func (l *Lane) forgetAhead() {
	l.holdNote(-l.ahead.bytes)
	l.ahead = ahead{}
}

// survey notes what lies between a lane and the offset at which the live feed began to do
// so. It ends early when nothing more can be noted. Whether a record is still to come
// nobody knows, since the last offsets may have none: it does not wait for long.
func (p *Partition) survey(l *Lane, to int64) error {
	next := func(box *inbox) (arrival, error) {
		ctx, cancel := context.WithTimeout(l.fed, patience)
		defer cancel()
		return box.next(ctx)
	}
	err := p.read(l, next, func(r arrival) (more bool, err error) {
		if r.Offset >= to {
			return false, nil
		}
		ev, verdicts, err := p.judge(l.fed, r.Record, false)
		if err != nil {
			return false, err
		}
		if wants(verdicts[l.index]) {
			l.note(ev)
		}
		return r.Offset+1 < to && l.looksAhead(), nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}
