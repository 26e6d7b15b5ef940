package delivery

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// batchDue reports whether an attempt should take what is ready now: a full batch,
// one that has lingered, or one that can't grow because a lane can add nothing more.
func (t *Target) batchDue(now time.Time) bool {
	linger := t.settings.Batch.Linger
	if t.batch == nil || linger == 0 || t.ready.len() >= t.settings.Batch.Size || t.probing(now) {
		return true
	}
	due := t.ready.at(0).due.Add(linger)
	if !now.Before(due) {
		return true
	}
	for l := range t.lanes {
		if l.room != nil || len(l.parked) > 0 {
			return true
		}
	}
	t.wakeBy(due)
	return false
}

// take removes from the ready queue what an attempt is to carry: one delivery,
// or a batch. A canary travels alone, and is of another key than the last one if
// one waits, so that one poison record can't hold a target down.
func (t *Target) take(a *attempt, now time.Time) {
	a.entries = a.one[:0]
	if a.canary {
		p := t.takeCanary()
		p.launch(now)
		a.entries = append(a.entries, p)
		return
	}
	size := 1
	if t.batch != nil {
		size = t.settings.Batch.Size
	}
	// Of one lane only the first of a key is ready, but two lanes may have the same key.
	var keys map[string]bool
	if size > 1 && !t.ordered && len(t.lanes) > 1 {
		keys = map[string]bool{}
	}
	var twice []*pending
	for len(a.entries) < size && t.ready.len() > 0 {
		p := t.ready.take(0)
		if keys[p.d.Key] {
			twice = append(twice, p)
			continue
		}
		if keys != nil {
			keys[p.d.Key] = true
		}
		p.launch(now)
		a.entries = append(a.entries, p)
		if t.batch == nil || !t.ordered || p.lane.latest {
			continue
		}
		for _, next := range p.queue.entries[1:] {
			// One that is not queued has its dead letter under way; a redelivery is looked at
			// when it is the first.
			if len(a.entries) == size || next.state != queued || next.again != nil || !next.lane.admit(next) {
				break
			}
			next.launch(now)
			a.entries = append(a.entries, next)
		}
	}
	t.ready.giveBack(twice)
}

// takeCanary prefers, also over a back-off that has not ended, a delivery of
// another key than the last canary's that gets as far as the target.
func (t *Target) takeCanary() *pending {
	other := func(p *pending) bool { return p.d.Key != t.canary && p.state != replaced && p.sendable() }
	spare := slices.IndexFunc(t.backoff, other)
	if spare < 0 && t.ready.len() == 0 {
		spare = slices.IndexFunc(t.backoff, (*pending).sendable)
	}
	var p *pending
	if i := slices.IndexFunc(t.ready.entries[t.ready.head:], other); i >= 0 {
		p = t.ready.take(i)
	} else if spare >= 0 {
		p = heap.Remove(&t.backoff, spare).(*pending) //nolint:forcetypeassert,errcheck // only pending goes in
	} else {
		p = t.ready.take(0)
	}
	t.canary = p.d.Key
	return p
}

// launch marks p as being in flight.
func (p *pending) launch(now time.Time) {
	if p.tries == 0 {
		p.first = now
	}
	p.state, p.last = flying, now
	p.tries++
	p.d.Attempt = p.tries
	p.queue.flying++
	p.lane.flying++
	if p.lane.latest {
		p.lane.cursor.Record(p.d.Event.Offset)
	}
}

// errBehind is the result of a delivery that was not sent, because one of its key
// before it in the batch failed.
var errBehind = errors.New("an earlier delivery of the key failed")

// push calls the connector once, with the target's timeout. A batch that failed
// as a whole, for good, is split until the rows at fault stand alone; splits are
// part of the same attempt. What is behind a row that failed is not sent.
func (t *Target) push(ctx context.Context, ds []*connector.Delivery) []connector.Result {
	rs := t.call(ctx, ds)
	t.conceal(ds, rs)
	if len(ds) == 1 || !splits(rs) || ctx.Err() != nil {
		return rs
	}
	mid := len(ds) / 2
	rs = t.push(ctx, ds[:mid])
	failed := map[string]bool{}
	for i, r := range rs {
		failed[ds[i].Key] = failed[ds[i].Key] || r.Err != nil
	}
	var rest []*connector.Delivery
	for _, d := range ds[mid:] {
		if !failed[d.Key] {
			rest = append(rest, d)
		}
	}
	var answers []connector.Result
	if len(rest) > 0 {
		answers = t.push(ctx, rest)
	}
	for _, d := range ds[mid:] {
		if failed[d.Key] {
			rs = append(rs, connector.Result{Err: errBehind})
			continue
		}
		rs, answers = append(rs, answers[0]), answers[1:]
	}
	return rs
}

// splits reports whether a whole batch failed permanently.
func splits(rs []connector.Result) bool {
	err := rs[0].Err
	return err != nil && connector.FailedWhole(err) && connector.Classify(err) == connector.Permanent
}

// call makes one call with one timeout. A panic is a failed attempt with its stack.
// The fence is asked once more: a process that was stopped since the attempt began
// may have lost its session meanwhile.
func (t *Target) call(ctx context.Context, ds []*connector.Delivery) (rs []connector.Result) {
	t.mu.Lock()
	open := t.mayStart(time.Now())
	t.mu.Unlock()
	if !open {
		return connector.FailAll(len(ds), errFenced)
	}
	ctx, cancel := context.WithTimeout(ctx, t.settings.Timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			rs = connector.FailAll(len(ds), fmt.Errorf("connector %s panicked: %v\n%s", t.kind, r, debug.Stack()))
		}
	}()
	if t.batch == nil {
		receipt, err := t.conn.Push(ctx, ds[0])
		return []connector.Result{{Receipt: receipt, Err: timeoutClass(ctx, err)}}
	}
	rs = t.batch.PushBatch(ctx, ds)
	for i := range rs {
		rs[i].Err = timeoutClass(ctx, rs[i].Err)
	}
	if len(rs) == len(ds) {
		return rs
	}
	err := fmt.Errorf("connector %s answered %d of %d deliveries", t.kind, len(rs), len(ds))
	if len(rs) > len(ds) { // which belongs to which is anyone's guess
		rs = nil
	}
	for len(rs) < len(ds) {
		rs = append(rs, connector.Result{Err: err})
	}
	return rs
}

// conceal takes the sensitive values of the deliveries out of what the errors of a
// call say. The error of a whole batch may quote each of them.
func (t *Target) conceal(ds []*connector.Delivery, rs []connector.Result) {
	var was string
	var whole error
	for i, r := range rs {
		if r.Err == nil {
			continue
		}
		rs[i].Err = t.guarded(func() error {
			if !connector.FailedWhole(r.Err) {
				return t.redact.Error(r.Err, ds[i].Event)
			}
			if text := r.Err.Error(); whole == nil || text != was {
				events := make([]*event.Event, len(ds))
				for j, d := range ds {
					events[j] = d.Event
				}
				was, whole = text, t.redact.Error(r.Err, events...)
			}
			return whole
		})
	}
}

// guarded returns what conceal makes of an error. The methods of an error are its
// connector's code: a panic there is a failed attempt with its stack too, but without
// the text of the panic, which may quote anything.
func (t *Target) guarded(conceal func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("an error of connector %s panicked\n%s", t.kind, debug.Stack())
		}
	}()
	return conceal()
}

// timeoutClass marks an attempt that ran out of time as unavailable, unless the
// connector gave it a class of its own.
func timeoutClass(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != context.DeadlineExceeded {
		return err
	}
	if connector.Classify(err) == connector.Transient {
		return connector.AsUnavailable(err)
	}
	return err
}
