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
//   - A replay whose command does not stand any more was cancelled: all below the lane's
//     former position settles, and the rest ends as a replay of the newest versions, since
//     what the lane had settled there is not known any more. The checkpoint and the state
//     of the topic tell, whoever owns the partition by then.
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

// withdrawn reports whether a replay, that a lane obeyed when its control position became
// this, does not stand any more. Of a position that was not reached nothing is known.
func (o *orders) withdrawn(id string, position int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.next >= position && !slices.ContainsFunc(o.all, func(one order) bool { return one.ID == id })
}

func (o *orders) list() ([]order, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all, o.news
}

// obey has the lanes of the partition obey each replay once, one after the other, and end
// those that are cancelled, until the assignment ends. Only it puts a lane in the place of
// another.
func (p *Partition) obey() {
	for {
		all, news := p.engine.orders.list()
		for _, l := range p.lanes {
			if l.cancelled() && !p.replace(l, l.takenBack) {
				return
			}
		}
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

// replay returns false when the assignment ends. Where nothing of the partition is to be
// replayed the lane goes on, past the command.
func (p *Partition) replay(old *Lane, o order) bool {
	if _, named := o.Range(p.Topic, p.Partition); !named {
		old.t.mu.Lock()
		old.saved.Control = o.offset + 1
		old.t.mu.Unlock()
		p.noteSettled()
		return true
	}
	return p.replace(old, func() checkpoint.Lane {
		saved := old.setBack(o)
		old.t.log.Warn("replay begins", "topic", p.Topic, "partition", p.Partition, "command", o.ID, "from", saved.Cursor.Next(), "by", o.By, "reason", o.Reason)
		return saved
	})
}

// replace puts a lane in the place of another that begins as the checkpoint says which
// saved returns once the other has come to rest. It returns false when the assignment ends.
func (p *Partition) replace(old *Lane, saved func() checkpoint.Lane) bool {
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
	l := newLane(old.t, p, old.index, saved())
	l.outcomes = old.handOver()
	l.next = l.cursor.Next()
	p.lanes[l.index] = l
	all := slices.Clone(p.carried)
	for _, l := range p.lanes {
		l.t.mu.Lock() // a replay of another target may be over just now
		all = append(all, l.saved)
		l.t.mu.Unlock()
	}
	p.share.Store(int64(checkpoint.Share(checkpoint.DefaultLimit, all)))
	p.startCatchUp(l)
	p.noteSettled()
	return true
}

// setBack is what the lane's checkpoint says once it has obeyed.
func (l *Lane) setBack(o order) checkpoint.Lane {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	saved := l.saved
	saved.Cursor, saved.Control = l.cursor.Clone(), o.offset+1
	g, _ := o.Range(l.p.Topic, l.p.Partition)
	end := saved.Cursor.Highest()
	if g.To != nil {
		end = min(end, *g.To)
	}
	from := max(g.From, l.p.LogStart)
	if from >= end {
		return saved
	}
	r := &checkpoint.Replay{CommandID: o.ID, Mode: checkpoint.ReplayNewest, End: end, Former: saved.Cursor.Next()}
	saved.Cursor.Reopen(from, end)
	if o.Every {
		r.Mode = checkpoint.ReplayEvery
	}
	if before := l.saved.Replay; before != nil { // what is left of it is part of this one
		r.Mode, r.End, r.Former = max(r.Mode, before.Mode), max(r.End, before.End), max(r.Former, before.Former)
	}
	saved.Replay = r
	return saved
}

// cancelled reports whether the lane still replays what a cancelled command asked for.
func (l *Lane) cancelled() bool {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	return l.p.engine.orders.cancels(&l.saved, l.cursor)
}

// cancels reports the same of a lane as saved, with its present cursor.
func (o *orders) cancels(l *checkpoint.Lane, c *checkpoint.Cursor) bool {
	return l.Replay != nil && c.Next() < l.Replay.Former && o.withdrawn(l.Replay.CommandID, l.Control)
}

// takenBack is what the lane's checkpoint says once its replay is cancelled.
func (l *Lane) takenBack() checkpoint.Lane {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	saved := l.saved
	saved.Cursor = l.cursor.Clone()
	if saved.Replay != nil { // else it has ended by itself meanwhile
		l.p.takeBack(&saved)
	}
	return saved
}

// takeBack cancels the replay of a lane.
func (p *Partition) takeBack(l *checkpoint.Lane) {
	p.engine.Logger.Warn("replay is cancelled", "target", l.Name, "topic", p.Topic, "partition", p.Partition, "command", l.Replay.CommandID)
	l.Cursor.SettleRange(0, l.Replay.Former)
	rest := *l.Replay
	rest.Mode = checkpoint.ReplayNewest
	if l.Replay = &rest; l.Cursor.Next() >= rest.End {
		l.Replay = nil
	}
}

// handOver ends the lane and returns the receipts that it owes.
func (l *Lane) handOver() (owed []receipt.Receipt) {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	l.endNow(errReplayed)
	owed, l.outcomes = l.outcomes, nil
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
	over := l.cursor.Next() >= r.End // also where the log has lost what was to be replayed
	if over || l.offered+1 >= l.gatherTo {
		l.stopGathering()
	}
	if over {
		l.saved.Replay, l.latest = nil, l.t.latest
		l.p.noteSettled()
		l.t.log.Warn("replay is over", "topic", l.p.Topic, "partition", l.p.Partition, "command", r.CommandID)
	}
}

// stopGathering lets what has been gathered start.
func (l *Lane) stopGathering() {
	if l.gathering {
		l.gathering = false
		l.unpark()
		l.t.pump()
	}
}
