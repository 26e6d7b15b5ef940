package delivery

import (
	"errors"
	"slices"
	"sync"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// This file is the replay: a lane gives way to another with its cursor set back.
//
//   - The new lane's control position and replay are in the same checkpoint as its cursor.
//     So the command is obeyed once: a crash before that commit finds the old lane as it
//     was, one after it goes on where the new lane was.
//   - The old lane's deliveries in flight land first, and what else it held is dropped:
//     the new lane reads it again. So the order per key is that of one reading.
//   - Unless each version is asked for, nothing starts before all that is replayed was
//     offered and conflated. So no older version is pushed over a newer one, as long as
//     the window has room for the keys.

var errReplayed = errors.New("lane gives way to a replay")

// orders are the replays that partitions may still have to obey.
type orders struct {
	// mu guards all below, between the control topic and the partitions.
	mu   sync.Mutex
	all  []order
	next int64         // of the control topic
	news chan struct{} // closed when all has changed
}

type order struct {
	offset int64
	*control.Replay
}

// add takes a replay; one without target was a tombstone.
func (o *orders) add(offset int64, r *control.Replay) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = slices.DeleteFunc(slices.Clone(o.all), func(old order) bool { return old.ID == r.ID })
	if r.Target != "" {
		o.all = append(o.all, order{offset, r})
	}
	close(o.news)
	o.news = make(chan struct{})
}

func (o *orders) reach(next int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next = next
}

// end is the offset of the next command.
func (o *orders) end() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.next
}

func (o *orders) list() ([]order, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all, o.news
}

// obey has the lanes of the partition obey each replay once, one after the other, until
// the assignment ends. Only it puts a lane in the place of another.
func (p *Partition) obey() {
	for {
		all, news := p.engine.orders.list()
		for _, o := range all {
			for _, l := range p.lanes {
				if l.t.name == o.Target && o.offset >= l.control() && !p.replay(l, o) {
					return
				}
			}
		}
		select {
		case <-news:
		case <-p.ctx.Done():
			return
		}
	}
}

func (l *Lane) control() int64 {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	return l.saved.Control
}

// replay returns false when the assignment ends.
func (p *Partition) replay(old *Lane, o order) bool {
	landed := old.drain()
	old.unfeed(errReplayed)
	p.feeding.Lock()
	old.attached = false
	caught := old.caught
	p.feeding.Unlock()
	for _, ended := range []<-chan struct{}{landed, caught} {
		if ended == nil {
			continue
		}
		select {
		case <-ended:
		case <-p.ctx.Done():
			return false
		}
	}

	p.feeding.Lock()
	defer p.feeding.Unlock()
	l := newLane(old.t, p, old.index, old.setBack(o))
	l.outcomes = old.handOver()
	l.next = l.cursor.Next()
	p.lanes[l.index] = l
	saved := slices.Clone(p.carried)
	for _, l := range p.lanes {
		saved = append(saved, l.saved)
	}
	p.share.Store(int64(checkpoint.Share(checkpoint.DefaultLimit, saved)))
	p.startCatchUp(l)
	p.noteSettled()
	l.t.log.Warn("replay begins", "topic", p.Topic, "partition", p.Partition, "command", o.ID, "from", l.next, "by", o.By, "reason", o.Reason)
	return true
}

// setBack is what the lane's checkpoint says once it has obeyed.
func (l *Lane) setBack(o order) checkpoint.Lane {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	saved := l.saved
	saved.Cursor, saved.Control = l.cursor.Clone(), o.offset+1
	g, ok := o.Range(l.p.Topic, l.p.Partition)
	end := saved.Cursor.Highest()
	if g.To != nil {
		end = min(end, *g.To)
	}
	from := max(g.From, l.p.LogStart)
	if !ok || from >= end {
		return saved
	}
	saved.Cursor.Reopen(from, end)
	r := &checkpoint.Replay{CommandID: o.ID, Mode: checkpoint.ReplayNewest, End: end}
	if o.Every {
		r.Mode = checkpoint.ReplayEvery
	}
	if before := l.saved.Replay; before != nil { // what is left of it is part of this one
		r.Mode, r.End = max(r.Mode, before.Mode), max(r.End, before.End)
	}
	saved.Replay = r
	return saved
}

// handOver ends the lane and returns the receipts that it owes.
func (l *Lane) handOver() (owed []receipt.Receipt) {
	l.t.mu.Lock()
	owed, l.outcomes = l.outcomes, nil
	l.t.mu.Unlock()
	l.end(errReplayed)
	return owed
}

// replays reports whether the offset, which has not settled, is part of a replay.
func (l *Lane) replays(offset int64) bool {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	return l.replayed(offset)
}

func (l *Lane) replayed(offset int64) bool {
	return l.saved.Replay != nil && offset < l.saved.Replay.End
}

// deliveryID is the idempotency key. A replay's ends in its command's id, so that the
// target does not answer from its cache.
func (l *Lane) deliveryID(offset int64) string {
	id := l.p.deliveryID(offset, l.t.name)
	if l.replayed(offset) {
		id += "/" + l.saved.Replay.CommandID
	}
	return id
}

// conflates reports whether a newer version may take the place of p.
func (l *Lane) conflates(p *pending) bool {
	return p.again == nil && (l.t.latest || l.latest && l.replayed(p.d.Event.Offset))
}

// progressed ends a replay, and the waiting for all of it, when the time has come.
func (l *Lane) progressed() {
	r := l.saved.Replay
	if r == nil {
		return
	}
	if l.offered+1 >= r.End {
		l.stopGathering()
	}
	if l.cursor.Next() >= r.End {
		l.saved.Replay, l.latest = nil, l.t.latest
		l.p.noteSettled()
		l.t.log.Warn("replay is over", "topic", l.p.Topic, "partition", l.p.Partition, "command", r.CommandID)
	}
}

// stopGathering lets what has been gathered start.
func (l *Lane) stopGathering() {
	if !l.gathering {
		return
	}
	l.gathering = false
	if l.offered+1 < l.saved.Replay.End {
		l.t.log.Warn("the window has no room for all policies of a replay: older versions are pushed before newer ones",
			"topic", l.p.Topic, "partition", l.p.Partition, "command", l.saved.Replay.CommandID)
	}
	l.unpark()
	l.t.pump()
}
