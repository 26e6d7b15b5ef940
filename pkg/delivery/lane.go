package delivery

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// Lane holds the deliveries of one target on one partition, for one assignment of
// it. All its state is guarded by the target's lock.
type Lane struct {
	t     *Target
	p     *Partition
	index int // in the partition's lanes
	// ctx ends when the lane does; its deliveries and attempts hang on it.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// fed ends when no feed may bring the lane anything more: with the assignment, or
	// because another lane takes its place.
	fed    context.Context
	unfeed context.CancelCauseFunc

	// attached and next, the first offset that the lane was not offered, are guarded
	// by Partition.feeding; while the lane is detached only its catch-up changes next.
	// caught is closed when its last catch-up has ended, nil if there was none.
	attached bool
	next     int64
	caught   chan struct{}

	latest    bool            // a newer version replaces a waiting one
	ahead     ahead           // what it was not offered yet
	gathering bool            // nothing starts before all of a replay was offered
	gatherTo  int64           // one past the last offset of that
	saved     checkpoint.Lane // as restored; the checkpoint keeps what is not ours to change
	cursor    *checkpoint.Cursor
	restored  int64 // one past the highest offset that had settled when the lane began
	keys      map[string]*keyQueue
	parked    []*pending
	count     int   // unsettled deliveries
	flying    int   // of them, in flight
	bytes     int64 // what they take
	// refused is the size of the delivery that found no room, 0 once it did.
	refused int64
	// admitted counts those for which the checkpoint has room, whether attempted or not.
	admitted int
	// unrecorded are offsets of letters for which the checkpoint has no room, ascending.
	unrecorded []int64
	offered    int64              // the highest offset that the feed brought
	pushed     int                // deliveries that ended otherwise than superseded
	outcomes   []receipt.Receipt  // of what has settled since the last checkpoint
	watched    map[string]watched // the keys of redeliveries
	// draining: nothing new starts. ended: nothing may settle any more; what comes
	// back from an attempt is dropped.
	draining, ended bool
	// room is not nil while the feed waits for the window; it is closed when there
	// is room.
	room chan struct{}
	// landed is closed when draining and nothing is in flight.
	landed chan struct{}
}

func newLane(t *Target, p *Partition, index int, saved checkpoint.Lane) *Lane {
	l := &Lane{t: t, p: p, index: index, saved: saved, cursor: saved.Cursor, restored: saved.Cursor.Highest(), keys: map[string]*keyQueue{}, landed: make(chan struct{})}
	if l.gathering = saved.Replay != nil && saved.Replay.Mode == checkpoint.ReplayNewest; l.gathering {
		l.gatherTo = saved.Cursor.EndOfUnsettled(saved.Replay.End)
	}
	l.latest = t.latest || l.gathering
	l.ctx, l.cancel = context.WithCancelCause(p.engine.ctx)
	l.fed, l.unfeed = context.WithCancelCause(p.ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lanes[l] = struct{}{}
	p.engine.windows.shares.Add(1)
	if t.latest {
		p.engine.notes.shares.Add(1)
	}
	return l
}

// admit reserves room in the checkpoint for recording that p settled before
// deliveries below it have. It reports whether there is any; the lowest offset
// needs none.
func (l *Lane) admit(p *pending) bool {
	if p.again != nil { // its offset has settled
		return true
	}
	if !p.admitted && !l.gathering && l.fits(p.d.Event.Offset, l.offered) {
		p.admitted = true
		l.admitted++
	}
	return p.admitted
}

// park keeps p, in the order of offsets, until there is room.
func (l *Lane) park(p *pending) {
	p.state = parked
	i, _ := l.parkedAt(p.d.Event.Offset)
	l.parked = slices.Insert(l.parked, i, p)
}

func (l *Lane) parkedAt(offset int64) (i int, found bool) {
	return slices.BinarySearchFunc(l.parked, offset, func(q *pending, offset int64) int {
		return cmp.Compare(q.d.Event.Offset, offset)
	})
}

// unpark queues what the checkpoint can record now. The lowest offset is admitted
// first; if it is not, none is.
func (l *Lane) unpark() {
	if len(l.parked) == 0 {
		return
	}
	now := time.Now()
	for len(l.parked) > 0 && l.admit(l.parked[0]) {
		l.t.makeReady(l.parked[0], now)
		l.parked[0] = nil // the array lives on
		l.parked = l.parked[1:]
	}
}

// settled reports whether an offset that the lane was not offered has settled, which
// it can only have done before the lane began.
func (l *Lane) settled(offset int64) bool {
	if offset >= l.restored {
		return false
	}
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	return l.cursor.Settled(offset)
}

// offer takes an event into the lane. If unrouted is not nil the target's filter has failed
// because of that. It returns nil if the lane took it, or has ended; else the channel that
// is closed when there may be room.
func (l *Lane) offer(ctx context.Context, ev *event.Event, unrouted error) (room <-chan struct{}) {
	t := l.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.draining {
		return nil
	}
	key := queueKey(ev)
	size := int64(ev.Size())
	var old *pending
	if l.latest && unrouted == nil {
		old = l.replaceable(key, l.count < t.settings.Window.Deliveries)
	}
	if l.full(key, size, old) {
		l.refused = size
		return l.waitRoom()
	}
	l.refused = 0
	// The delivery outlives the processing of its record: it hangs on the lane, and
	// keeps only the parent span.
	p := l.newPending(telemetry.WithSpan(l.ctx, trace.SpanFromContext(ctx)), ev, key, l.deliveryID(ev.Offset), size)
	p.unrouted = unrouted
	l.offered = ev.Offset
	l.enqueue(p)
	l.inherit(p)
	if old != nil {
		l.supersede(old, p)
	}
	if p.queue.entries[0] == p && p.state == queued {
		t.makeReady(p, time.Now())
	}
	l.progressed()
	t.pump()
	return nil
}

// queueKey is the key in whose queue an event waits: its own, if it has none.
func queueKey(ev *event.Event) string {
	if !ev.HasKey {
		return ev.Position.String()
	}
	return ev.Key
}

// newPending makes a delivery of the lane, whose span is a child of ctx's.
func (l *Lane) newPending(ctx context.Context, ev *event.Event, key, id string, size int64) *pending {
	t := l.t
	p := &pending{lane: l, size: size, prepared: t.prepare == nil, since: ev.Timestamp, d: connector.Delivery{
		ID:      id,
		Target:  t.name,
		Key:     key,
		Op:      connector.Upsert,
		Version: t.version(ev),
		Event:   ev,
	}}
	if ev.Tombstone() {
		p.d.Op = connector.Delete
	}
	_, p.span = l.p.engine.Tracer.StartDelivery(ctx, ev, t.name, t.kind)
	return p
}

// enqueue puts p at the end of the queue of its key.
func (l *Lane) enqueue(p *pending) {
	l.count++
	l.hold(p.size)
	p.turn = l.pushed + l.count
	q := l.keys[p.d.Key]
	if q == nil {
		q = &keyQueue{}
		q.entries = q.one[:0]
		l.keys[p.d.Key] = q
	}
	q.entries = append(q.entries, p)
	p.queue = q
}

// settle ends a delivery of the lane.
func (l *Lane) settle(p *pending, outcome string) {
	age := time.Since(p.d.Event.Timestamp)
	switch offset := p.d.Event.Offset; {
	case p.again != nil: // the cursor is past it
		p.again.ended <- outcome
		age = 0
	case outcome == receipt.Superseded:
		l.cursor.SettleRange(offset, offset+1)
	default:
		l.mark(offset)
		l.pushed++
	}
	l.keepSettled(p, outcome)
	l.notePushed(p, outcome)
	l.count--
	l.hold(-p.size)
	if p.admitted {
		l.admitted--
	}
	p.queue.remove(p)
	if len(p.queue.entries) == 0 {
		delete(l.keys, p.d.Key)
	}
	if l.room != nil && l.hasRoom() {
		l.wakeFeed()
	}
	if l.p.waits.Load() && l.short() {
		l.p.feedNow()
	}
	l.progressed()
	l.unpark()
	l.p.noteSettled()
	l.t.countSettled(outcome, age)
	if p.span.IsRecording() {
		p.span.SetAttributes(telemetry.OutcomeKey.String(outcome))
	}
	p.span.End()
}

// advance makes the first delivery of a key ready, if none of the key is in
// flight and the first is not waiting already.
func (l *Lane) advance(q *keyQueue, now time.Time) {
	if len(q.entries) == 0 || q.flying > 0 {
		return
	}
	p := q.entries[0]
	if p.state != queued {
		return
	}
	if l.outdated(p) {
		l.settle(p, receipt.Stale)
		l.advance(q, now)
		return
	}
	if next := l.successor(p); next != nil {
		l.supersede(p, next)
		p = next
	}
	l.t.makeReady(p, now)
}

// drain lets nothing new start and returns a channel that is closed when nothing
// of the lane is in flight.
func (l *Lane) drain() <-chan struct{} {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	l.draining = true
	l.t.ready.filter(func(p *pending) bool { return p.lane != l })
	l.t.backoff.filter(func(p *pending) bool { return p.lane != l })
	l.wakeFeed()
	l.checkLanded()
	return l.landed
}

func (l *Lane) checkLanded() {
	if l.draining && l.flying == 0 {
		select {
		case <-l.landed:
		default:
			close(l.landed)
		}
	}
}

// end cancels what is in flight and forbids any settling from now on. Later calls do
// nothing.
func (l *Lane) end(cause error) {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	l.endNow(cause)
}

// endNow is end with the target's lock.
func (l *Lane) endNow(cause error) {
	if l.ended {
		return
	}
	l.draining, l.ended = true, true
	l.hold(-l.bytes)
	l.p.engine.windows.shares.Add(-1)
	l.forgetAhead()
	if l.t.latest {
		l.p.engine.notes.shares.Add(-1)
	}
	l.cancel(cause)
	l.t.forget(l)
	l.wakeFeed()
	for _, q := range l.keys {
		for _, p := range q.entries {
			p.span.End()
			if p.again != nil {
				p.again.ended <- ""
			}
		}
	}
	l.checkLanded()
	l.t.pump()
}

// version is what the target compares the event by.
func (t *Target) version(ev *event.Event) connector.Version {
	if t.offsets {
		return connector.Version{Value: ev.Offset, Known: true, ByOffset: true}
	}
	return connector.Version{Value: ev.Version, Known: ev.HasVersion}
}
