package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/mapping"
	"github.com/hms-sme/policysync/pkg/receipt"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// This file sends again what has settled: a redrive's dead letters, and the record that a
// push names. It goes into the lane and key queue of its source partition, behind what
// waits there, and leaves the cursor alone. Who asks for it remembers what is left.
//
// It never overwrites a newer version. At the head of its key's queue nothing of the key
// is in flight, and what the target has is known: by the receipts, which were read after
// the lane had begun to watch the key and all that had settled before was proven.

// Again is a record to be sent again.
type Again struct {
	// Record is the original; its position is where it lies in the source.
	Record *event.Record
	// Target is empty for all targets, as the routing has it.
	Target string
	// Command ends the idempotency key, and the id of a dead letter.
	Command string
	// Failed is when the record became the dead letter: what the target had got before proves
	// nothing, since it may have failed at the same version again, in a replay or a push.
	Failed time.Time
	// Repeat pushes also the very version that the target has.
	Repeat bool
}

// Proofs reads back which versions a target has.
type Proofs interface {
	// Held returns the receipts of the given keys at a target, up to the present end of
	// the topic.
	Held(ctx context.Context, target string, keys []string) ([]receipt.Receipt, error)
}

// redelivery is one record on its way to one target once more.
type redelivery struct {
	Again

	lane *Lane
	ev   *event.Event
	key  string
	ctx  context.Context // has the span of the record's processing
	// unrouted is why the target's filter failed.
	unrouted error
	// outdated and has: the receipts say that the target has a newer version, or this one.
	outdated, has bool
	// ended gets how it settled, "" if the lane ended before. It has room for that.
	ended chan string
}

func (a *Again) id(target string) string {
	id := fmt.Sprintf("%s/%d/%d/", a.Record.TopicID, a.Record.Partition, a.Record.Offset)
	if target != "" {
		id += target + "/"
	}
	return id + a.Command
}

// HasTarget reports whether the engine has a target of that name.
func (e *Engine) HasTarget(name string) bool { return e.target(name) != nil }

// Owns reports whether a partition is assigned to this engine.
func (e *Engine) Owns(topic string, partition int32) bool {
	return e.partition(topic, partition) != nil
}

func (e *Engine) partition(topic string, partition int32) *Partition {
	e.mu.Lock()
	defer e.mu.Unlock()
	for p := range e.live {
		if p.Topic == topic && p.Partition == partition {
			return p
		}
	}
	return nil
}

// Redeliver sends records again and waits until they have settled and that is proven. It
// returns how each did: "" if it did not, since its partition is not assigned to this
// engine, or no longer, or for the reason that the error tells. For all targets
// together "dead-lettered" counts most, then "delivered".
func (e *Engine) Redeliver(ctx context.Context, all []Again) (outcomes []string, err error) {
	outcomes = make([]string, len(all))
	parts := map[*Partition]bool{}
	of := make([][]*redelivery, len(all))
	var every []*redelivery
	var errs []error
	for i, a := range all {
		p := e.partition(a.Record.Topic, a.Record.Partition)
		if p == nil {
			continue
		}
		if of[i], outcomes[i], err = p.unsettle(ctx, a); err != nil {
			errs = append(errs, err)
		}
		parts[p] = true
		every = append(every, of[i]...)
	}
	for _, d := range every {
		d.lane.watch(d.key)
		defer d.lane.unwatch(d.key)
	}
	if err := e.compare(ctx, parts, every); err != nil {
		return make([]string, len(all)), errors.Join(append(errs, err)...)
	}
	for _, d := range every {
		if d.has && !d.outdated { // whoever sent it did not come to tell
			d.ended <- receipt.Delivered
			continue
		}
		d.lane.redeliver(d)
	}
	for i, ds := range of {
		for _, d := range ds {
			select {
			case outcome := <-d.ended:
				outcomes[i] = foremost(outcomes[i], outcome)
			case <-ctx.Done():
				return make([]string, len(all)), context.Cause(ctx)
			}
		}
	}
	for p := range parts {
		if p.awaitProven(ctx) == nil {
			continue
		}
		for i, a := range all { // the next owner finds out
			if a.Record.Topic == p.Topic && a.Record.Partition == p.Partition {
				outcomes[i] = ""
			}
		}
	}
	return outcomes, errors.Join(errs...)
}

// foremost is the outcome for two targets.
func foremost(a, b string) string {
	for _, outcome := range []string{"", receipt.DeadLettered, receipt.Delivered, receipt.Stale} {
		if a == outcome || b == outcome {
			return outcome
		}
	}
	return receipt.Filtered
}

// unsettle decodes and routes a record once more. It returns a redelivery for each target
// that is to have it, or how the record ended without any.
func (p *Partition) unsettle(ctx context.Context, a Again) (ds []*redelivery, outcome string, err error) {
	if a.Target != "" && !p.engine.HasTarget(a.Target) { // what it wants only a member that has it can tell
		return nil, "", fmt.Errorf("send %s again: this member's config lacks target %s", a.Record.Position, a.Target)
	}
	ctx, cancel := p.with(ctx)
	defer cancel()
	spanned, span := p.engine.Tracer.StartProcess(ctx, a.Record)
	defer span.End()
	ev, unreadable, err := p.engine.readAgain(spanned, a.Record)
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("read record %s again: %w", a.Record.Position, err)
	case unreadable != nil:
		if err := p.unsettled(spanned, &a, unreadable); err != nil {
			return nil, "", err
		}
		return nil, receipt.DeadLettered, nil
	}
	verdicts := p.engine.route(ev).Targets
	p.feeding.Lock()
	lanes := append([]*Lane(nil), p.lanes...)
	p.feeding.Unlock()
	for i, l := range lanes {
		if a.Target != "" && a.Target != l.t.name {
			continue
		}
		if v := verdicts[i]; v.Deliver || v.Err != nil {
			ds = append(ds, &redelivery{
				Again: a, lane: l, ev: ev, key: queueKey(ev), unrouted: v.Err, ended: make(chan string, 1),
				ctx: telemetry.WithSpan(l.ctx, trace.SpanFromContext(spanned)),
			})
		}
	}
	return ds, receipt.Filtered, nil
}

// readAgain tells what is wrong with the record from what only hinders to read it now.
func (e *Engine) readAgain(ctx context.Context, r *event.Record) (ev *event.Event, unreadable, err error) {
	var value *event.Object
	var schema *event.Schema
	if r.Value != nil {
		if value, schema, err = e.Decoder.Decode(ctx, r); err != nil {
			if _, undecodable := errors.AsType[*decode.UndecodableError](err); undecodable {
				return nil, err, nil
			}
			return nil, nil, err
		}
	}
	if ev, err = e.Reader.Read(r, value, schema); err == nil {
		return ev, nil, nil
	}
	if _, uncompiled := errors.AsType[*mapping.SchemaError](err); uncompiled {
		return nil, nil, err
	}
	return nil, e.Redact.Error(err, &event.Event{Record: r, Value: value, Schema: schema}), nil
}

// unsettled writes the dead letter of a record that nobody can read, once more.
func (p *Partition) unsettled(ctx context.Context, a *Again, cause error) error {
	id := a.id(a.Target)
	if err := p.writeLetter(ctx, id, a.Record, nil, a.Target, cause); err != nil {
		return err
	}
	p.feeding.Lock()
	defer p.feeding.Unlock()
	for _, l := range p.lanes {
		if a.Target == "" || a.Target == l.t.name {
			l.t.mu.Lock()
			l.keepBuried(ctx, a.Record, id, cause)
			l.t.mu.Unlock()
		}
	}
	p.noteSettled()
	return nil
}

// with returns a context that ends with the assignment too.
func (p *Partition) with(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.ctx, func() { cancel(context.Cause(p.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

// compare finds out which redeliveries are outdated, by the receipts.
func (e *Engine) compare(ctx context.Context, parts map[*Partition]bool, ds []*redelivery) error {
	if !e.Receipts || len(ds) == 0 {
		return nil
	}
	for p := range parts {
		_ = p.awaitProven(ctx) // it ends with the assignment, and then nothing is sent
	}
	keys := map[string][]string{}
	for _, d := range ds {
		if d.ev.HasKey {
			keys[d.lane.t.name] = append(keys[d.lane.t.name], d.key)
		}
	}
	for target, of := range keys {
		receipts, err := e.Proofs.Held(ctx, target, of)
		if err != nil {
			return fmt.Errorf("read what target %s has: %w", target, err)
		}
		for _, d := range ds {
			for i := range receipts {
				if r := &receipts[i]; d.lane.t.name == target && d.key == r.Key && d.ev.HasKey {
					d.has = d.has || !d.Repeat && d.proves(r) && r.Time.After(d.Failed)
					d.outdated = d.outdated || d.overwrites(r)
				}
			}
		}
	}
	return nil
}

// proves reports whether the receipt says that the target has this very version.
func (d *redelivery) proves(r *receipt.Receipt) bool {
	return r.Outcome == receipt.Delivered && r.Source.TopicID == d.ev.TopicID && r.Source.Partition == d.ev.Partition && r.Source.Offset == d.ev.Offset
}

// overwrites reports whether the push would replace what the receipt proves, which is
// newer, or not known to be older.
func (d *redelivery) overwrites(r *receipt.Receipt) bool {
	has, again := r.Source.Offset, d.ev.Offset
	switch {
	case r.Outcome != receipt.Delivered && r.Outcome != receipt.Stale || d.proves(r):
		return false
	case r.Source.TopicID == d.ev.TopicID && r.Source.Partition == d.ev.Partition:
	case r.HasVersion && d.ev.HasVersion: // the topic has more partitions than it had, or was made anew
		has, again = r.Version, d.ev.Version
	default:
		return true
	}
	return has > again || has == again && !d.Repeat
}

// redeliver puts the record into the queue of its key.
func (l *Lane) redeliver(d *redelivery) {
	t := l.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.draining {
		d.ended <- ""
		return
	}
	p := l.newPending(d.ctx, d.ev, d.key, d.id(t.name), int64(d.ev.Size()))
	p.again, p.unrouted, p.since = d, d.unrouted, time.Now()
	l.enqueue(p)
	l.advance(p.queue, time.Now())
	t.pump()
}

// outdated reports whether a redelivery at the head of its key's queue must not be pushed.
func (l *Lane) outdated(p *pending) bool {
	d := p.again
	if d == nil {
		return false
	}
	pushed := l.watched[d.key]
	return d.outdated || pushed.any && (d.ev.TopicID != l.p.TopicID || pushed.offset > d.ev.Offset || pushed.offset == d.ev.Offset && !d.Repeat)
}

// watched is what the lane has pushed of a key since somebody wants to know.
type watched struct {
	by     int // how many
	any    bool
	offset int64 // the highest
}

func (l *Lane) watch(key string) {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	if l.watched == nil {
		l.watched = map[string]watched{}
	}
	w := l.watched[key]
	w.by++
	l.watched[key] = w
}

func (l *Lane) unwatch(key string) {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	w := l.watched[key]
	if w.by--; w.by > 0 {
		l.watched[key] = w
	} else {
		delete(l.watched, key)
	}
}

// notePushed tells those who watch the key of p that the target has it, or a newer one.
func (l *Lane) notePushed(p *pending, outcome string) {
	w, ok := l.watched[p.d.Key]
	if ok && (outcome == receipt.Delivered || outcome == receipt.Stale) && p.d.Event.TopicID == l.p.TopicID {
		w.any, w.offset = true, max(w.offset, p.d.Event.Offset)
		l.watched[p.d.Key] = w
	}
}

// awaitProven waits until the receipts of all that has settled up to now are
// acknowledged. The first acknowledgement may be of a checkpoint taken before, the
// second is not.
func (p *Partition) awaitProven(ctx context.Context) error {
	for range 2 {
		acknowledged := p.unsaved.next()
		if acknowledged == nil {
			return nil
		}
		select {
		case <-acknowledged:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
