package delivery

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/route"
)

// run is the partition's goroutine: it brings the records of the live feed to the
// lanes that are attached.
func (p *Partition) run() {
	defer close(p.stopped)
	for {
		r, err := p.inbox.next(p.ctx)
		if err != nil {
			return
		}
		if p.awaitSaved(p.ctx) != nil || p.awaitWanted() != nil {
			return
		}
		p.busy.Store(time.Now().UnixNano())
		err = p.feed(r)
		p.busy.Store(0)
		if err != nil {
			return // the assignment ended; what was not offered is not settled
		}
	}
}

// feed brings one record to every attached lane. It returns an error only when the
// assignment ends.
func (p *Partition) feed(r arrival) error {
	if !p.reach(r) {
		return nil
	}
	ctx, span := p.engine.Tracer.StartProcess(p.ctx, r.Record)
	defer span.End()
	ev, verdicts, err := p.judge(ctx, r.Record, true)
	if err != nil {
		return err
	}
	p.noteAhead(ev, verdicts)
	for {
		l := p.behind(r.Offset)
		if l == nil {
			return nil
		}
		if room := p.give(ctx, l, r.Record, ev, verdicts[l.index]); room == nil {
			p.offered(l, r.Offset)
		} else if err := p.detachOrWait(l, room); err != nil {
			return err
		}
	}
}

// detachOrWait returns when the full lane is detached, when there may be room in it, or
// when another has attached, since this one may detach then. What can wake it is asked for
// before the others are looked at, so that it misses none that changes just then. There may
// be room also after a while, see [Lane.awaitRoom].
func (p *Partition) detachOrWait(l *Lane, room <-chan struct{}) error {
	late := time.After(patience)
	p.waits.Store(true)
	defer p.waits.Store(false)
	for {
		joined := p.lanesJoined()
		if p.detach(l) {
			return nil
		}
		p.busy.Store(0)
		select {
		case <-room:
			return nil
		case <-p.hungry:
		case <-joined:
			return nil
		case <-late:
			return nil
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
	}
}

// feedNow wakes the live feed if it waits for a full lane. It does not wait.
func (p *Partition) feedNow() {
	select {
	case p.hungry <- struct{}{}:
	default:
	}
}

// reach moves the live feed to an offset. What lies between the last record and this
// one does not exist for a consumer, so it settles. It returns false if there is
// nothing to do: an old record, or one that every attached lane had settled before a
// restart. While none is attached, some look ahead.
func (p *Partition) reach(r arrival) bool {
	p.feeding.Lock()
	defer p.feeding.Unlock()
	offset := r.Offset
	if offset < p.liveNext {
		return false
	}
	open, attached := false, false
	for _, l := range p.lanes {
		if l.attached {
			attached = true
			l.miss(r.lost)
			l.passRange(l.next, offset)
			l.next = max(l.next, offset)
			open = open || !l.settled(offset)
		}
	}
	p.liveNext = offset
	if open = open || !attached; !open {
		for _, l := range p.lanes {
			if l.attached {
				l.next = offset + 1
			}
		}
		p.liveNext = offset + 1
	}
	return open
}

// behind returns an attached lane that was not offered the offset yet. If there is
// none the live feed has passed it, and behind returns nil.
func (p *Partition) behind(offset int64) *Lane {
	p.feeding.Lock()
	defer p.feeding.Unlock()
	for _, l := range p.lanes {
		if l.attached && l.next <= offset {
			return l
		}
	}
	p.liveNext = offset + 1
	return nil
}

func (p *Partition) offered(l *Lane, offset int64) {
	p.feeding.Lock()
	defer p.feeding.Unlock()
	l.next = offset + 1
}

// awaitWanted has the live feed stand still while no lane is attached, nor looks ahead.
func (p *Partition) awaitWanted() error {
	for {
		p.feeding.Lock()
		joined, found := p.joined, slices.ContainsFunc(p.lanes, func(l *Lane) bool { return l.attached || l.looksAhead() })
		p.feeding.Unlock()
		if found {
			return nil
		}
		select {
		case <-joined:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
	}
}

func (p *Partition) lanesJoined() <-chan struct{} {
	p.feeding.Lock()
	defer p.feeding.Unlock()
	return p.joined
}

// judge decodes and routes a record. With bury set, what no target can have is one
// dead letter for the record, and so is each name that no target has; ev is nil if
// the record can't be read.
func (p *Partition) judge(ctx context.Context, r *event.Record, bury bool) (ev *event.Event, verdicts []route.Verdict, err error) {
	ev, unreadable := p.engine.read(ctx, p, r)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if unreadable != nil {
		if bury {
			p.engine.Metrics.Undecodable(r.Topic)
			err = p.letter(ctx, r, nil, "", unreadable)
		}
		return nil, slices.Repeat([]route.Verdict{{Err: unreadable}}, len(p.lanes)), err
	}
	decision := p.engine.route(ev)
	for _, name := range decision.Unknown {
		if bury && err == nil {
			err = p.letter(ctx, r, ev, name, unknownTarget(name))
		}
	}
	return ev, decision.Targets, err
}

// give offers one lane its part of a record; ev is nil if the record was buried. A
// filter that fails is its target's own trouble: the lane takes the event, and holds it or
// writes its letter, while the feed goes on. A room that is not nil means that the lane is
// full until it closes.
func (p *Partition) give(ctx context.Context, l *Lane, r *event.Record, ev *event.Event, v route.Verdict) (room <-chan struct{}) {
	switch {
	case l.settled(r.Offset): // before a restart
	case ev == nil:
		l.bury(ctx, r, v.Err)
	case v.Err == nil && !v.Deliver:
		l.filter(r.Offset)
	case l.givesWay(ev):
		l.passOver(ctx, ev)
	default:
		return l.offer(ctx, ev, v.Err)
	}
	return nil
}

// letter writes the dead letter of a record, for a name that no target has or for none.
func (p *Partition) letter(ctx context.Context, r *event.Record, ev *event.Event, target string, cause error) error {
	p.busy.Store(0)
	id := p.recordID(r.Offset)
	if target != "" {
		id = p.deliveryID(r.Offset, target)
	}
	return p.writeLetter(ctx, id, r, ev, target, cause)
}

func (p *Partition) writeLetter(ctx context.Context, id string, r *event.Record, ev *event.Event, target string, cause error) error {
	l := deadletter.Letter{
		ID:     id,
		Target: target,
		Class:  string(connector.Permanent),
		Error:  cause.Error(),
		Trace:  traceID(trace.SpanFromContext(ctx)),
	}
	describe(&l, r, ev)
	p.engine.Logger.WarnContext(ctx, "record became a dead letter", "id", l.ID, "err", l.Error)
	return writeLetter(ctx, p.engine.Letters, l, r, p.engine.Jitter, p.engine.Logger)
}
