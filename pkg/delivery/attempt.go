package delivery

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/mapping"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// attempt is one call of the connector on its way.
type attempt struct {
	entries []*pending
	one     [1]*pending // where entries begin: most attempts carry one
	report  func(error) // to the breaker, exactly once
	canary  bool
}

// start lets the attempt fly: on the goroutine of the one that lands just now, whose
// stack has grown already, or on one of its own.
func (t *Target) start(a *attempt) {
	t.flying++
	if t.landing && t.next == nil {
		t.next = a
		return
	}
	go func() {
		growStack()
		t.fly(a)
	}()
}

// growStack grows a goroutine's stack while it is shallow to what a push needs. It would
// grow anyway, twice and deep inside, where each frame is to be moved.
//
//go:noinline
func growStack() {
	var frame [4 << 10]byte
	runtime.KeepAlive(&frame)
}

func (t *Target) fly(a *attempt) {
	for a != nil {
		a = t.land(a, t.try(a))
	}
}

// try maps what is not mapped yet, and calls the connector.
func (t *Target) try(a *attempt) []connector.Result {
	results := make([]connector.Result, len(a.entries))
	ds := make([]*connector.Delivery, 0, len(a.entries))
	for i, p := range a.entries {
		results[i].Err = t.guarded(func() error { return t.redact.Error(t.mapped(p), p.d.Event) })
		if results[i].Err == nil {
			ds = append(ds, &p.d)
		}
	}
	if len(ds) > 0 {
		ctx, end := t.attemptContext(a.entries)
		began := time.Now()
		answers := t.push(ctx, ds)
		for i := range results {
			if results[i].Err == nil { // mapped, hence pushed
				results[i], answers = answers[0], answers[1:]
			}
		}
		t.metrics.Push(t.name, time.Since(began))
		end(results)
	}
	return results
}

// attemptContext hangs the attempt on every lane it carries deliveries of, and
// puts it under the span of the first.
func (t *Target) attemptContext(entries []*pending) (context.Context, func([]connector.Result)) {
	first := entries[0]
	lanes := []*Lane{first.lane}
	for _, p := range entries[1:] {
		if !slices.Contains(lanes, p.lane) {
			lanes = append(lanes, p.lane)
		}
	}
	ctx, cancel := first.context(), context.CancelCauseFunc(func(error) {})
	if len(lanes) > 1 {
		ctx, cancel = context.WithCancelCause(ctx)
	}
	var stops []func() bool
	for _, l := range lanes[1:] {
		stops = append(stops, context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) }))
	}
	ctx, span := first.lane.p.engine.Tracer.StartAttempt(ctx, first.tries, spans(entries[1:]))
	return ctx, func(rs []connector.Result) {
		for _, stop := range stops {
			stop()
		}
		endAttempt(span, rs)
		cancel(nil)
	}
}

// mapped makes the document of p, once.
func (t *Target) mapped(p *pending) (err error) {
	switch {
	case p.unrouted != nil:
		return connector.AsPermanent(p.unrouted)
	case p.prepared:
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = connector.AsPermanent(fmt.Errorf("map for %s panicked: %v\n%s", t.name, r, debug.Stack()))
		}
	}()
	err = t.prepare.Prepare(&p.d)
	var schema *mapping.SchemaError
	switch {
	case err == nil:
		p.prepared = true
		return nil
	case errors.As(err, &schema):
		return fmt.Errorf("map: %w", err)
	}
	return connector.AsPermanent(fmt.Errorf("map: %w", err))
}

// land takes the results of an attempt: it settles, retries, holds or sends to the
// dead letters. It returns the attempt that follows on the same goroutine, nil if none
// does.
func (t *Target) land(a *attempt, results []connector.Result) *attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.landing = true
	t.flying--
	verdict := errExcluded // what the breaker hears: the worst that says something
	cancelled, now := a.cancelled(), time.Now()
	for i, p := range a.entries {
		p.lane.flying--
		p.queue.flying--
		if p.lane.ended {
			continue
		}
		switch v := t.landOne(p, results[i], a.canary, cancelled, now); {
		case v == nil && errors.Is(verdict, errExcluded):
			verdict = nil
		case v != nil && !errors.Is(v, errExcluded):
			verdict = v
		}
	}
	a.report(verdict)
	if a.canary {
		t.asking = false
	}
	if a.canary && t.hold.active {
		t.hold.until = now.Add(openWait(t.settings.Breaker, t.hold.failed, t.jitter))
		t.hold.failed++
	}
	for _, p := range a.entries {
		if !p.lane.ended {
			p.lane.advance(p.queue, now)
		}
		p.lane.checkLanded()
	}
	t.pump()
	next := t.next
	t.landing, t.next = false, nil
	return next
}

// landOne deals with one result and returns what it says to the breaker: nil, the
// failure, or errExcluded. A probe, while breaker or hold doubt the target, is the
// target's and spends no attempt of p.
func (t *Target) landOne(p *pending, r connector.Result, probe, cancelled bool, now time.Time) error {
	if r.Err == nil {
		outcome := receipt.Delivered
		if r.Receipt.Stale {
			outcome = receipt.Stale
		}
		t.success.add(p.d.Key)
		t.hold.note(p.d.Key, endedWell)
		t.metrics.Attempt(t.name, "success")
		p.reference = r.Receipt.Reference
		p.lane.settle(p, outcome)
		return nil
	}
	if cancelled || errors.Is(r.Err, errFenced) || errors.Is(r.Err, errBehind) {
		p.state = queued // ours, not the target's: as if the attempt had not been
		return errExcluded
	}
	p.lastErr, t.failure = r.Err, r.Err
	if unmapped, ok := errors.AsType[*mapping.SchemaError](r.Err); ok {
		if !t.uncompiled[unmapped.ID] {
			t.uncompiled[unmapped.ID] = true
			t.log.Error("mapping does not compile for a schema; its deliveries are held",
				"schema_id", unmapped.ID, "err", r.Err)
		}
		t.waitFor(p, t.settings.Retry.Max)
		return errExcluded
	}
	class := connector.Classify(r.Err)
	t.metrics.Attempt(t.name, string(class))
	if class == connector.Unavailable && p.failed() > 1 && t.success.otherSince(p.d.Key, p.lastSuccess) {
		class = connector.Transient
	}
	p.lastSuccess, p.lastClass = t.success.n, class
	if class != connector.Unavailable {
		p.downSince = time.Time{} // the target is there
	}
	switch class {
	case connector.Permanent:
		return t.landPermanent(p, probe)
	case connector.Throttled:
		return t.landThrottled(p, r.Err, now)
	case connector.Unavailable:
		return t.landUnavailable(p, r.Err, now)
	case connector.Transient:
	}
	if !probe {
		p.spent++
	}
	if p.spent >= t.settings.Retry.MaxAttempts {
		t.hold.note(p.d.Key, endedOther)
		t.deadLetter(p)
		return errExcluded
	}
	counted := p.counted
	p.counted = true
	t.waitFor(p, t.settings.Retry.backoff(p.failed(), t.jitter))
	if counted && !probe {
		return errExcluded
	}
	return r.Err
}

// landPermanent dead-letters p, unless the target is held and no operator accepts it:
// then only the hold's own doubt is fed. A permanent answer is an answer: it closes a half-open breaker,
// unless the target was not asked, because the mapping failed.
func (t *Target) landPermanent(p *pending, probe bool) error {
	accepted := !p.d.Event.Timestamp.After(t.accepted)
	if !accepted && p.again == nil { // of a redelivery it is no news
		t.hold.note(p.d.Key, endedForGood)
	}
	if t.hold.active && !accepted {
		p.state = queued
		if probe {
			t.waitFor(p, t.settings.Retry.backoff(p.failed(), t.jitter))
		}
	} else {
		t.deadLetter(p)
	}
	if t.breaker.state == stateHalfOpen && probe && p.sendable() {
		return nil
	}
	return errExcluded
}

// landThrottled makes the whole target wait as it was told.
func (t *Target) landThrottled(p *pending, err error, now time.Time) error {
	var e *connector.Error
	errors.As(err, &e) // Throttled is a class that only an *Error carries
	wait := min(e.After, throttleMax)
	if wait <= 0 {
		wait = t.settings.Retry.backoff(p.failed(), t.jitter)
	}
	if until := now.Add(wait); until.After(t.quiet) {
		t.quiet = until
	}
	t.waitFor(p, wait)
	if e.Overload {
		return err
	}
	if t.breaker.state == stateHalfOpen {
		return nil
	}
	return errExcluded
}

// landUnavailable holds p until the target is back, or as long as the outage
// settings say.
func (t *Target) landUnavailable(p *pending, err error, now time.Time) error {
	if p.downSince.IsZero() {
		p.downSince = now
	}
	if after := t.settings.Outage.DeadLetterAfter; after > 0 && now.Sub(p.downSince) >= after {
		t.deadLetter(p)
		return err
	}
	t.waitFor(p, t.settings.Retry.backoff(p.failed(), t.jitter))
	return err
}

// cancelled reports whether a lane of the attempt has ended, which cancels the
// attempt for its other lanes too.
func (a *attempt) cancelled() bool {
	for _, p := range a.entries {
		if p.lane.ctx.Err() != nil {
			return true
		}
	}
	return false
}

// deadLetter writes the letter of p and settles it once the broker has
// acknowledged. Until then p stays in flight: later versions of its key wait.
func (t *Target) deadLetter(p *pending) {
	l := p.lane
	p.state = flying
	l.flying++
	p.queue.flying++
	letter := deadletter.Letter{
		ID:           p.d.ID,
		Target:       t.name,
		Class:        string(p.lastClass),
		Error:        p.lastErr.Error(),
		Attempts:     p.tries,
		FirstAttempt: p.first,
		LastAttempt:  p.last,
		Trace:        traceID(p.span),
	}
	describe(&letter, p.d.Event.Record, p.d.Event)
	go func() {
		err := writeLetter(l.ctx, t.letters, letter, p.d.Event.Record, t.jitter, t.log)
		if err == nil {
			t.metrics.DeadLetter(t.name, letter.Class)
			t.log.WarnContext(p.context(), "delivery became a dead letter", "id", letter.ID, "key", p.d.Key,
				"class", letter.Class, "attempts", letter.Attempts, "err", letter.Error)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		l.flying--
		p.queue.flying--
		if err == nil && !l.ended {
			l.settle(p, receipt.DeadLettered)
			l.advance(p.queue, time.Now())
			t.pump()
		}
		l.checkLanded()
	}()
}
