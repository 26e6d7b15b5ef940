package delivery

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// pending is a delivery that has not settled. Its fields are guarded by the
// target's lock, except that the attempt which holds it in flight may touch
// d.Document and d.Attempt.
type pending struct {
	d     connector.Delivery
	lane  *Lane
	queue *keyQueue // of its key, once it is in the lane
	span  trace.Span
	size  int64

	again    *redelivery // not nil if the event had settled before
	unrouted error       // why it is not known whether the target wants the event
	state    state
	prepared bool // d.Document is made, or none is needed
	admitted bool // the checkpoint has room to record its settling
	counted  bool // its failure counted on the breaker already
	// spent counts the attempts that retry.max_attempts bounds, tries all of them.
	spent, tries int
	first, last  time.Time // start of the first and the last attempt
	downSince    time.Time // first failure of the present outage
	lastSuccess  uint64    // the target's success count at the last attempt
	lastErr      error
	lastClass    connector.Class
	reference    string    // the external system's own id for what it took
	due          time.Time // when its back-off ends; in the ready queue, since when it waits there
	at           int       // its index in the heap of back-offs

	// With `deliver: latest`, what it took over from the versions that it replaced: how
	// many they were, how often they were attempted, how many pushes of the lane it is
	// until its turn, counted from the lane's begin, and since when the key waits.
	superseded, before, turn int
	since                    time.Time
}

type state uint8

const (
	queued   state = iota // behind another delivery of its key
	ready                 // may be attempted
	parked                // may be attempted once the lane can record its settling
	waiting               // backs off until due
	flying                // an attempt or its dead letter is under way
	replaced              // settled, while still in the ready queue
)

// context carries the delivery's span, and ends with the lane. It is made when it is
// needed: what waits does without.
func (p *pending) context() context.Context { return telemetry.WithSpan(p.lane.ctx, p.span) }

// sendable reports whether an attempt at p gets as far as the target. One that backs
// off without an attempt of its own is in the place of one that did.
func (p *pending) sendable() bool { return (p.prepared || p.tries == 0) && p.unrouted == nil }

// keyQueue holds the deliveries of one key, in order. Only the first may be
// attempted, or the first few together in a batch that is applied in order.
type keyQueue struct {
	entries []*pending
	one     [1]*pending // where entries begin: most keys have one that waits
	flying  int
}

func (q *keyQueue) remove(p *pending) {
	if q.entries[0] == p { // nearly always: keep the tail where it is
		q.entries[0] = nil
		q.entries = q.entries[1:]
	} else if i := slices.Index(q.entries, p); i >= 0 {
		q.entries = slices.Delete(q.entries, i, i+1)
	}
	if q.one[0] == p { // the entries are elsewhere by now
		q.one[0] = nil
	}
}

// fifo is a queue that forgets what it handed out. Its first entry is never a
// replaced one.
type fifo struct {
	entries  []*pending
	head     int
	replaced int // entries that only take a place
}

func (f *fifo) len() int          { return len(f.entries) - f.head - f.replaced }
func (f *fifo) at(i int) *pending { return f.entries[f.head+i] }

func (f *fifo) push(p *pending) {
	if f.head > 1024 && f.head*2 > len(f.entries) {
		n := copy(f.entries, f.entries[f.head:])
		clear(f.entries[n:])
		f.entries, f.head = f.entries[:n], 0
	}
	f.entries = append(f.entries, p)
}

// take removes and returns the i-th entry.
func (f *fifo) take(i int) *pending {
	p := f.at(i)
	copy(f.entries[f.head+1:f.head+i+1], f.entries[f.head:f.head+i])
	f.entries[f.head] = nil
	f.head++
	f.trim()
	return p
}

// giveBack puts what was just taken from the front there again, in the same order.
func (f *fifo) giveBack(entries []*pending) {
	f.head -= len(entries)
	copy(f.entries[f.head:], entries)
}

// replace leaves p in its place, as nothing, until such are half of the queue.
func (f *fifo) replace(p *pending) {
	p.state = replaced
	f.replaced++
	if f.trim(); f.replaced > f.len() {
		f.filter(func(*pending) bool { return true })
	}
}

func (f *fifo) trim() {
	for f.head < len(f.entries) && f.entries[f.head].state == replaced {
		f.entries[f.head] = nil
		f.head++
		f.replaced--
	}
}

// filter drops the entries for which keep is false.
func (f *fifo) filter(keep func(*pending) bool) {
	f.entries = slices.DeleteFunc(f.entries[f.head:], func(p *pending) bool { return p.state == replaced || !keep(p) })
	f.head, f.replaced = 0, 0
}

// waitHeap orders back-offs by their end.
type waitHeap []*pending

func (h waitHeap) Len() int           { return len(h) }
func (h waitHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h waitHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *waitHeap) Push(x any) {
	p := x.(*pending) //nolint:forcetypeassert,errcheck // only pending goes in
	p.at = len(*h)
	*h = append(*h, p)
}

func (h *waitHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return p
}

func (h *waitHeap) filter(keep func(*pending) bool) {
	*h = slices.DeleteFunc(*h, func(p *pending) bool { return !keep(p) })
	for i, p := range *h {
		p.at = i
	}
	heap.Init(h)
}
