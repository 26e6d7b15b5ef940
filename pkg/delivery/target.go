package delivery

import (
	"container/heap"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/redact"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// Target is one configured external system in this process. Its lanes, one per
// assigned partition, share its concurrency, its breaker and its limits.
//
// An attempt passes, in this order: the pause, the fence, the hold, the throttle, the rate
// limit, the breaker; then the connector. The order is behaviour: what does not start takes
// no token and no canary.
type Target struct {
	name     string
	kind     string
	settings Settings
	offsets  bool // versions are source offsets
	conn     connector.Connector
	batch    connector.BatchConnector // nil if the connector has none, or size is 1
	ordered  bool                     // a batch may hold several deliveries of a key
	latest   bool                     // a newer version replaces a waiting one
	prepare  connector.Preparer       // nil if the connector has none
	letters  Letters
	jitter   Jitter
	redact   *redact.Redactor
	reading  *rate.Limiter // of catch-up feeds, in bytes; nil: no bound
	metrics  *telemetry.Metrics
	log      *slog.Logger

	// mu guards everything below and all state of the lanes and their deliveries.
	// It is never held across I/O but a rare line of log. Settling, offering and starting attempts take
	// it, so that a lane that ends can't start one more.
	mu      sync.Mutex
	ready   fifo
	backoff waitHeap
	flying  int      // attempts
	failure error    // of the last attempt that failed
	landing bool     // land runs
	next    *attempt // for the goroutine that lands
	lanes   map[*Lane]struct{}
	breaker *breaker
	hold    hold
	fence   fence
	limit   *rate.Limiter
	quiet   time.Time // throttled until
	paused  bool      // by an operator
	// accepted is up to when, by their timestamps, an operator takes the events' failures
	// for good for the events' own.
	accepted time.Time
	timer    *time.Timer
	wakeAt   time.Time
	canary   string // key of the last canary of breaker or hold
	asking   bool   // a canary is in flight
	success  successes
	tally    tally
	// uncompiled are the schema ids for which the mapping does not compile, which
	// is logged once.
	uncompiled map[int]bool
}

// successes remembers which keys succeeded last, to tell whether a key other than
// a given one succeeded since.
type successes struct {
	n             uint64
	key, otherKey string
	seq, otherSeq uint64
}

func (s *successes) add(key string) {
	s.n++
	if key != s.key {
		s.otherKey, s.otherSeq = s.key, s.seq
		s.key = key
	}
	s.seq = s.n
}

// otherSince reports whether a key other than key succeeded after count seq.
func (s *successes) otherSince(key string, seq uint64) bool {
	if s.key != key {
		return s.seq > seq
	}
	return s.otherSeq > seq
}

// TargetConfig is what a Target is made of.
type TargetConfig struct {
	Name string
	// Kind is the connector's name.
	Kind     string
	Settings Settings
	// VersionByOffset: versions are source offsets.
	VersionByOffset bool
	Connector       connector.Connector
	// HoldRatio is dead_letters.hold_ratio; 0 holds on the first permanent failure.
	HoldRatio float64
	Letters   Letters
	Jitter    Jitter
	// Redact takes the sensitive values of an event out of what errors say.
	Redact  *redact.Redactor
	Metrics *telemetry.Metrics
	Logger  *slog.Logger
}

// NewTarget returns a target without lanes. It owns the connector: Close closes it.
func NewTarget(c TargetConfig) *Target {
	t := &Target{
		name: c.Name, kind: c.Kind, settings: c.Settings, offsets: c.VersionByOffset,
		conn: c.Connector, letters: c.Letters, jitter: c.Jitter, redact: c.Redact, metrics: c.Metrics,
		latest: c.Settings.Deliver == "latest",
		log:    c.Logger.With("target", c.Name),
		lanes:  map[*Lane]struct{}{}, uncompiled: map[int]bool{}, tally: tally{settled: map[string]int64{}},
	}
	t.prepare, _ = c.Connector.(connector.Preparer)
	if bytes := int(c.Settings.CatchUp.MaxBytesPerSecond); bytes > 0 {
		t.reading = rate.NewLimiter(rate.Limit(bytes), bytes)
	}
	if c.Settings.Batch.Size > 1 {
		t.batch, _ = c.Connector.(connector.BatchConnector)
		_, t.ordered = c.Connector.(connector.OrderedBatch)
		t.ordered = t.ordered && !t.latest
	}
	t.breaker = newBreaker(c.Name, c.Settings.Breaker, c.Jitter, func(from, to gobreaker.State) {
		if to == gobreaker.StateOpen {
			t.log.Warn("breaker opened: its deliveries wait", "from", from.String(), "err", t.failure)
		} else {
			t.log.Warn("breaker turned", "from", from.String(), "to", to.String())
		}
		t.metrics.BreakerTurned(t.name, to.String())
		if to == gobreaker.StateClosed {
			t.cutBackOffs(connector.Unavailable)
		}
	})
	t.hold = hold{ratio: c.HoldRatio, changed: func(held bool) {
		if held {
			t.log.Error("target is held: its last keys all failed for good, which is rarely the policies' fault; "+
				"mend the target, its mapping or its filter", "keys", holdKeys, "err", t.failure)
			t.metrics.Held(t.name)
			return
		}
		t.log.Info("target is released from its hold")
	}}
	if r := c.Settings.Rate; r.PerSecond > 0 {
		burst := r.Burst
		if burst == 0 {
			burst = max(1, int(r.PerSecond))
		}
		t.limit = rate.NewLimiter(rate.Limit(r.PerSecond), burst)
	}
	t.timer = time.AfterFunc(time.Hour, t.wake)
	t.timer.Stop()
	return t
}

// Name is the target's name in the config.
func (t *Target) Name() string { return t.name }

// Close closes the connector. All lanes must have ended.
func (t *Target) Close(ctx context.Context) error {
	t.mu.Lock()
	t.timer.Stop()
	t.mu.Unlock()
	return t.conn.Close(ctx)
}

func (t *Target) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wakeAt = time.Time{}
	t.pump()
}

// wakeBy makes the pump run again at the given time, or earlier.
func (t *Target) wakeBy(at time.Time) {
	if !t.wakeAt.IsZero() && !at.Before(t.wakeAt) {
		return
	}
	t.wakeAt = at
	t.timer.Reset(max(0, time.Until(at)))
}

// pump starts every attempt that may start now, and sets the timer for the next
// one that time alone holds back. It runs after each change of state.
func (t *Target) pump() {
	now := time.Now()
	t.endBackoffs(now)
	for t.flying < t.settings.Concurrency && !t.paused {
		if t.ready.len() == 0 && !t.wantsCanary(now) {
			return
		}
		if !t.batchDue(now) {
			return
		}
		report, canary := t.admit(now)
		if report == nil {
			return
		}
		a := &attempt{report: report, canary: canary}
		t.take(a, now)
		t.start(a)
	}
}

// endBackoffs moves the deliveries whose back-off is over to the ready queue.
func (t *Target) endBackoffs(now time.Time) {
	for len(t.backoff) > 0 && !t.backoff[0].due.After(now) {
		t.makeReady(heap.Pop(&t.backoff).(*pending), now) //nolint:forcetypeassert,errcheck // only pending goes in
	}
	if len(t.backoff) > 0 {
		t.wakeBy(t.backoff[0].due)
	}
}

// doubted reports whether nobody knows that the target takes what it is sent.
func (t *Target) doubted() bool {
	return t.hold.active || t.breaker.state != gobreaker.StateClosed
}

// probing reports whether the target waits for a canary that may go now.
func (t *Target) probing(now time.Time) bool {
	return t.doubted() && !t.asking && !now.Before(t.probeAt())
}

// wantsCanary reports whether one of the back-offs should be cut for a canary: a
// target that may be back is asked by whatever waits. If it is too early for a
// canary it sets the timer.
func (t *Target) wantsCanary(now time.Time) bool {
	if !t.doubted() || !slices.ContainsFunc(t.backoff, (*pending).sendable) {
		return false
	}
	if at := t.probeAt(); at.After(now) {
		t.wakeBy(at)
	}
	return t.probing(now)
}

// probeAt is when the next canary may go, zero if the target is not in doubt.
func (t *Target) probeAt() time.Time {
	switch {
	case t.hold.active:
		return t.hold.until
	case t.breaker.state != gobreaker.StateClosed:
		return t.breaker.openUntil
	}
	return time.Time{}
}

// admit asks fence, hold, throttle, rate limit and breaker, in this order, for one
// attempt. A nil report means no; the timer is then set, or the renewed session or
// the end of a canary in flight will pump again.
func (t *Target) admit(now time.Time) (report func(error), canary bool) {
	if !t.mayStart(now) {
		return nil, false
	}
	if t.hold.active && now.Before(t.hold.until) {
		t.wakeBy(t.hold.until)
		return nil, false
	}
	if t.asking {
		return nil, false
	}
	if now.Before(t.quiet) {
		t.wakeBy(t.quiet)
		return nil, false
	}
	token := func() {}
	if t.limit != nil {
		r := t.limit.ReserveN(now, 1)
		token = func() { r.CancelAt(now) }
		if d := r.DelayFrom(now); d > 0 {
			token()
			t.wakeBy(now.Add(d))
			return nil, false
		}
	}
	report, canary, again := t.breaker.allow(now)
	if report == nil {
		token()
		if !again.IsZero() {
			t.wakeBy(again)
		}
		return nil, false
	}
	t.asking = canary || t.hold.active
	return report, t.asking
}

// makeReady queues p for an attempt, or parks it if its lane could not record its
// settling.
func (t *Target) makeReady(p *pending, now time.Time) {
	if p.lane.draining {
		p.state = queued
		return
	}
	if !p.lane.admit(p) {
		p.lane.park(p)
		return
	}
	if p.due.After(now) { // it took over a back-off
		t.backOff(p)
		return
	}
	p.state, p.due = ready, now
	t.ready.push(p)
}

// waitFor puts p into back-off; behind another delivery of its key, which an
// ordered batch may have carried too, it waits for that one.
func (t *Target) waitFor(p *pending, d time.Duration) {
	if p.lane.draining || p.queue.entries[0] != p {
		p.state = queued
		return
	}
	p.due = time.Now().Add(d)
	t.backOff(p)
	if next := p.lane.successor(p); next != nil {
		p.lane.supersede(p, next)
	}
}

// backOff has p wait until it is due.
func (t *Target) backOff(p *pending) {
	p.state = waiting
	heap.Push(&t.backoff, p)
	t.wakeBy(t.backoff[0].due)
}

// forget drops what belongs to an ended lane.
func (t *Target) forget(l *Lane) {
	keep := func(p *pending) bool { return p.lane != l }
	t.ready.filter(keep)
	t.backoff.filter(keep)
	delete(t.lanes, l)
}
