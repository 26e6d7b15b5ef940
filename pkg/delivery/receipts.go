package delivery

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// maxUnsaved is how many deliveries of a partition may have settled without an
// acknowledged receipt, where memory does not bound it more. With more the partition's
// feeds wait: what its lanes hold already still settles, so that no more than this and
// their windows is kept.
const maxUnsaved = 10_000

// receiptBytes is what a receipt that waits takes at most, but for one with a long error.
const receiptBytes = 1024

// unsaved holds the receipts of a partition until they are acknowledged: one per
// record of the receipts topic, so that the newest wins.
type unsaved struct {
	count atomic.Int64 // settled deliveries that list, or a lane, has to account for

	// These belong to whoever calls Checkpoint and Saved, one at a time.
	list    []receipt.Receipt
	index   map[unsavedKey]int // in list
	settled int64              // deliveries that list stands for
	spare   []receipt.Receipt  // empty, for the next lane to keep its receipts in
	// beneath are the dead letters that the receipt of a superseded version replaced in
	// list: they are the last outcome if that version turns out to be only counted.
	beneath map[unsavedKey]receipt.Receipt

	// mu closes the race between a feed that begins to wait and an acknowledgement.
	mu   sync.Mutex
	room chan struct{} // not nil while a feed waits
}

type unsavedKey struct {
	kind        receipt.Kind
	target, key string
}

func keyOf(r *receipt.Receipt) unsavedKey { return unsavedKey{r.Kind(), r.Target, r.Key} }

func newUnsaved() *unsaved {
	return &unsaved{index: map[unsavedKey]int{}, beneath: map[unsavedKey]receipt.Receipt{}}
}

// add takes over what settled, and the memory that it lay in. Counts of superseded
// versions add up.
func (u *unsaved) add(receipts []receipt.Receipt) {
	u.settled += int64(len(receipts))
	for _, r := range receipts {
		k := keyOf(&r)
		i, ok := u.index[k]
		if ok {
			u.layer(k, &r, &u.list[i])
			r.Superseded += u.list[i].Superseded
			u.list[i] = r
		} else {
			u.index[k] = len(u.list)
			u.list = append(u.list, r)
		}
		if k.kind == receipt.KindHeld {
			u.dropSuperseded(&r)
		}
	}
	u.spare = emptied(receipts)
}

// emptied returns the memory of receipts for the next ones. One commit that takes long
// makes it large: it is given back as soon as the next ones need little of it.
func emptied(receipts []receipt.Receipt) []receipt.Receipt {
	if cap(receipts) > 64 && cap(receipts) > 4*len(receipts) {
		return nil
	}
	clear(receipts)
	return receipts[:0]
}

// layer keeps what r takes the place of, if it may be needed again.
func (u *unsaved) layer(k unsavedKey, r, old *receipt.Receipt) {
	switch {
	case r.Outcome != receipt.Superseded:
		delete(u.beneath, k)
	case old.Outcome != receipt.Superseded:
		u.beneath[k] = *old
	}
}

// dropSuperseded drops the receipt of a version that gave way to the one held: its
// own receipt counts it.
func (u *unsaved) dropSuperseded(held *receipt.Receipt) {
	k := unsavedKey{receipt.KindLast, held.Target, held.Key}
	i, ok := u.index[k]
	if !ok || u.list[i].Outcome != receipt.Superseded || u.list[i].Source.Offset > held.Source.Offset {
		return
	}
	if old, ok := u.beneath[k]; ok {
		u.list[i] = old
		delete(u.beneath, k)
		return
	}
	end := len(u.list) - 1
	u.list[i] = u.list[end]
	u.index[keyOf(&u.list[i])] = i
	u.list = u.list[:end]
	delete(u.index, k)
}

// keep forgets what is acknowledged, that is all but left. The feeds go on only when
// nothing is left: as long as they wait it gets less, until a commit has its receipts.
func (u *unsaved) keep(left []receipt.Receipt) {
	if len(left) == 0 {
		u.clear()
		return
	}
	n := copy(u.list, left)
	clear(u.list[n:])
	u.list = u.list[:n]
	clear(u.index)
	for i := range u.list {
		u.index[keyOf(&u.list[i])] = i
	}
	maps.DeleteFunc(u.beneath, func(k unsavedKey, _ receipt.Receipt) bool {
		_, waits := u.index[k]
		return !waits
	})
}

// clear forgets all, and lets the feeds go on.
func (u *unsaved) clear() {
	if u.list = emptied(u.list); u.list == nil {
		u.index = map[unsavedKey]int{} // a map keeps its memory too
	}
	clear(u.index)
	clear(u.beneath)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count.Add(-u.settled)
	u.settled = 0
	if u.room != nil {
		close(u.room)
		u.room = nil
	}
}

// next returns the channel that is closed with the next acknowledgement; nil if nothing
// waits for one.
func (u *unsaved) next() <-chan struct{} { return u.fewer(1) }

// fewer returns it; nil if fewer wait.
func (u *unsaved) fewer(than int64) <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.count.Load() < than {
		return nil
	}
	if u.room == nil {
		u.room = make(chan struct{})
	}
	return u.room
}

// mayOwe is how many deliveries of a partition, which has own such now, may have settled
// without an acknowledged receipt: those of one commit, and more as far as all partitions
// together keep to the budget. One that has to wait is woken by its own acknowledgement.
func (e *Engine) mayOwe(own int64) int64 {
	if e.Memory == 0 || own < int64(e.CommitEvery) || own >= maxUnsaved {
		return maxUnsaved
	}
	all := budget{limit: e.Memory / 8 / receiptBytes}
	e.mu.Lock()
	defer e.mu.Unlock()
	all.shares.Store(int64(len(e.live)))
	for p := range e.live {
		all.held.Add(p.unsaved.count.Load())
	}
	return min(maxUnsaved, all.most(own))
}

// awaitSaved waits while too many receipts are not acknowledged.
func (p *Partition) awaitSaved(ctx context.Context) error {
	for {
		room := p.unsaved.fewer(p.engine.mayOwe(p.unsaved.count.Load()))
		if room == nil {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Saved tells that the receipts of the last Checkpoint are acknowledged, but for those
// that are left, in their order. These the next Checkpoint hands out again, under newer
// ones.
func (p *Partition) Saved(left ...receipt.Receipt) { p.unsaved.keep(left) }

// takeOutcomes returns what has settled since the last call. The lane keeps what settles
// next in spare, which is empty.
func (l *Lane) takeOutcomes(spare []receipt.Receipt) []receipt.Receipt {
	taken := l.outcomes
	l.outcomes = spare
	return taken
}

// keepSettled keeps the receipt of p until the next Checkpoint. An event without a key
// is of no policy, and its receipt would stay on the topic for ever.
func (l *Lane) keepSettled(p *pending, outcome string) {
	ev := p.d.Event
	if !l.p.engine.Receipts || !ev.HasKey {
		return
	}
	r := receipt.Receipt{
		Target: l.t.name, Key: p.d.Key, Outcome: outcome, Attempts: p.tries, Source: ev.Position,
		Version: ev.Version, HasVersion: ev.HasVersion, Deleted: ev.Tombstone(),
		Trace: traceID(p.span), Reference: receipt.Bounded(p.reference),
	}
	switch outcome {
	case receipt.Delivered:
		r.Superseded = p.superseded
	case receipt.Superseded:
		r.Superseded = 1
	case receipt.DeadLettered:
		r.Class, r.Error, r.Letter = string(p.lastClass), receipt.Bounded(p.lastErr.Error()), p.d.ID
	}
	l.keep(r)
}

// keepPassedOver does so for a version that gave way before it was a delivery.
func (l *Lane) keepPassedOver(ctx context.Context, ev *event.Event) {
	if l.p.engine.Receipts {
		l.keep(receipt.Receipt{
			Target: l.t.name, Key: ev.Key, Outcome: receipt.Superseded, Source: ev.Position, Superseded: 1,
			Version: ev.Version, HasVersion: ev.HasVersion, Deleted: ev.Tombstone(), Trace: traceID(trace.SpanFromContext(ctx)),
		})
	}
}

// keepBuried does so for a record that became a dead letter as a whole. Its own key stands
// for the policy's. Letter is the id of its dead letter.
func (l *Lane) keepBuried(ctx context.Context, r *event.Record, letter string, cause error) {
	if !l.p.engine.Receipts || r.Key == nil {
		return
	}
	l.keep(receipt.Receipt{
		Target: l.t.name, Key: string(r.Key), Outcome: receipt.DeadLettered, Source: r.Position,
		Deleted: r.Value == nil, Trace: traceID(trace.SpanFromContext(ctx)),
		Class: string(connector.Permanent), Error: receipt.Bounded(cause.Error()), Letter: letter,
	})
}

func (l *Lane) keep(r receipt.Receipt) {
	r.Time = l.t.fence.within(time.Now())
	l.outcomes = append(l.outcomes, r)
	l.p.unsaved.count.Add(1)
}
