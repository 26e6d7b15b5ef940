package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// manner is how a target behaves for a while.
type manner int

const (
	well      manner = iota
	slow             // answers late, or after the timeout
	refuses          // no connection
	fails            // HTTP 500, often
	throttles        // HTTP 429, and 503 with Retry-After
	hangs            // does not answer, and may have applied it, or do so later
	unheard          // applies it, and the answer is lost
	denies           // refuses all for good, as with a wrong path
	panics           // its connector does
	sticks           // fails, always, for one key of each partition
	mixed            // each attempt another one of the above
	manners
)

// fate is what becomes of one call.
type fate struct {
	takes   time.Duration
	err     error
	applies bool // also where it ends with an error
	late    time.Duration
	panics  bool
}

func (f fate) String() string {
	return fmt.Sprintf("takes %v err=%v applies=%v panics=%v", f.takes, f.err, f.applies, f.panics)
}

// system is an external system, which outlives all processes.
type system struct {
	s      *stage
	index  int
	plan   targetPlan
	manner manner // guarded by stage.mu
}

// fate draws what becomes of an attempt at a record; n counts its attempts.
func (s *system) fate(m manner, r *event.Record, n int) fate {
	w, partition, offset := s.s, int(r.Partition), int(r.Offset)
	pick := func(of, part int) int { return w.below(of, forFate, s.index, partition, offset, n, part) }
	f := fate{
		takes: w.upTo(20*time.Millisecond, forLatency, s.index, partition, offset, n),
		late:  w.upTo(5*time.Second, forFate, s.index, partition, offset, n, 9),
	}
	if pick(4, 0) == 0 {
		f.takes = 0
	}
	if m == mixed {
		m = manner(pick(int(mixed), 1))
	}
	switch m {
	case slow:
		f.takes *= 200
	case refuses:
		f.err = connector.AsUnavailable(errors.New("connection refused"))
	case fails:
		if pick(2, 2) == 0 {
			f.err = errors.New("status 500")
		}
	case throttles:
		if pick(2, 2) == 0 {
			f.err = &connector.Error{
				Class: connector.Throttled, After: f.late / 5, Overload: pick(3, 3) == 0, Err: errors.New("status 429"),
			}
		}
	case hangs:
		if pick(2, 2) == 0 {
			f.takes = time.Hour
			f.applies = pick(2, 3) == 0
		}
	case unheard:
		if pick(2, 2) == 0 {
			f.applies = true
			f.err = connector.AsUnavailable(errors.New("connection reset"))
		}
	case denies:
		f.err = connector.AsPermanent(errors.New("status 404"))
	case panics:
		f.panics = pick(4, 2) == 0
	case sticks:
		if string(r.Key) == fmt.Sprintf("%d-0", partition) {
			f.err = errors.New("status 500")
		}
	default:
	}
	return f
}

// poison tells the deliveries that the target never takes.
func (s *system) poison(partition, offset int) bool {
	return s.s.oneIn(60, forPoison, s.index, partition, offset)
}

// life is a process as its connectors know it. Stage.mu is held in all calls.
type life interface {
	// cutOff reports whether nothing of it reaches anything any more.
	cutOff() bool
	// begin begins an attempt; before holds what the same call carries before it.
	begin(target string, d *connector.Delivery, before map[int64]bool) attempt
}

// attempt is one of a process, as the checker follows it. Stage.mu is held in all calls.
type attempt interface {
	// applied is told that the system has taken it.
	applied()
	// answered is told what the process learnt.
	answered(err error)
}

// client is the connector of one process to a system.
type client struct {
	*system

	p life
}

func (c client) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	r := c.send(ctx, []*connector.Delivery{d})[0]
	return r.Receipt, r.Err
}

func (client) Close(context.Context) error { return nil }

type batchClient struct{ client }

func (c batchClient) PushBatch(ctx context.Context, ds []*connector.Delivery) []connector.Result {
	return c.send(ctx, ds)
}

type orderedClient struct{ batchClient }

func (orderedClient) AppliesBatchInOrder() {}

// connector is what the plan says that the connector can do.
func (c client) connector() connector.Connector {
	switch c.plan.kind {
	case single:
		return c
	case wholeOrdered, rowsOrdered:
		return orderedClient{batchClient{c}}
	case rows, whole:
	}
	return batchClient{c}
}

// send is one call: it begins, takes its time, is applied or not, and is answered or
// not. Of a process that is cut off nothing reaches the system any more.
func (c client) send(ctx context.Context, ds []*connector.Delivery) []connector.Result {
	name := c.plan.name
	w := c.s
	w.mu.Lock()
	if c.p.cutOff() {
		w.mu.Unlock()
		<-ctx.Done()
		return connector.FailAll(len(ds), ctx.Err())
	}
	as := make([]attempt, len(ds))
	before := map[int64]bool{}
	for i, d := range ds {
		as[i] = c.p.begin(name, d, before)
		before[d.Event.Offset] = c.plan.ordered()
	}
	first := ds[0].Event
	tries := w.check.of(name, first.Position).tries
	f := c.fate(c.manner, first.Record, tries)
	w.note("push %.8s %d/%d (%d) try %d: %v", name, first.Partition, first.Offset, len(ds), tries, f)
	w.mu.Unlock()

	timer := time.NewTimer(f.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		if f.applies || f.err == nil && f.takes < time.Hour { // it is on its way
			time.AfterFunc(f.late, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.note("push %.8s %d/%d (%d) applied late", name, first.Partition, first.Offset, len(ds))
			})
		}
		return c.answer(as, ds, connector.FailAll(len(ds), ctx.Err()))
	}
	return c.answer(as, ds, c.decide(as, ds, f))
}

// decide has the system take the deliveries, or not.
func (c client) decide(as []attempt, ds []*connector.Delivery, f fate) []connector.Result {
	w := c.s
	w.mu.Lock()
	defer w.mu.Unlock()
	rs := make([]connector.Result, len(ds))
	denied := f.err != nil && connector.Classify(f.err) == connector.Permanent
	if !c.plan.byRow() {
		for _, d := range ds {
			denied = denied || c.poison(int(d.Event.Partition), int(d.Event.Offset))
		}
	}
	switch {
	case f.applies: // and the answer is lost
		rs = connector.FailAll(len(ds), f.err)
	case denied:
		rs = connector.FailAll(len(ds), connector.AsPermanent(errors.New("status 422")))
		for _, d := range ds {
			tr := w.check.of(c.plan.name, d.Event.Position)
			tr.denied = tr.denied || len(ds) == 1
			tr.split = tr.split || len(ds) > 1
		}
	case f.err != nil:
		rs = connector.FailAll(len(ds), f.err)
	case f.panics:
	default:
		failed := map[string]bool{}
		for i, d := range ds {
			if rs[i].Err = c.row(d, failed[d.Key]); rs[i].Err != nil {
				failed[d.Key] = true
				continue
			}
			if !c.p.cutOff() { // else no owner of the partition will ever know
				as[i].applied()
			}
		}
	}
	if f.panics && f.err == nil && !denied {
		rs = nil
	}
	return rs
}

// row is what becomes of one row of a batch in which the others may go on. Behind
// tells that an earlier one of its key failed.
func (c client) row(d *connector.Delivery, behind bool) error {
	partition, offset := int(d.Event.Partition), int(d.Event.Offset)
	tr := c.s.check.of(c.plan.name, d.Event.Position)
	switch {
	case !c.plan.byRow():
		return nil
	case c.poison(partition, offset):
		tr.denied = true
		return connector.AsPermanent(errors.New("constraint"))
	case behind, c.plan.kind == rowsOrdered && c.s.oneIn(10, forFate, c.index, partition, offset, tr.tries, 10):
		return errors.New("deadlock")
	}
	return nil
}

// answer gives the results to the process, if it lives. No results stand for a panic.
func (c client) answer(as []attempt, ds []*connector.Delivery, rs []connector.Result) []connector.Result {
	w := c.s
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range ds {
		if c.p.cutOff() {
			break
		}
		err := errors.New("panic")
		if rs != nil {
			err = rs[i].Err
		}
		as[i].answered(err)
	}
	if rs == nil {
		panic("a mistake in the connector")
	}
	return rs
}
