package delivery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
)

// Feeds opens catch-up feeds: a second reading of a partition, for one target that
// could not keep up with the live feed.
type Feeds interface {
	// Open begins to hand over the records of a partition from an offset on. Take
	// gets them as [Partition.Take] does; if it returns true the feed pauses until
	// Resume. Diverge is called as [Partition.Diverge] is.
	Open(target string, from event.Position,
		take func(records []*event.Record, start, end int64) (pause bool), diverge func(cause error)) (Feed, error)
}

// Feed is an open catch-up feed.
type Feed interface {
	Resume()
	// Close ends the feed. When it returns nothing is handed over any more.
	Close()
}

const (
	// catchUpBytes bounds the records between a catch-up feed and its lane.
	catchUpBytes = 1 << 20
	// patience is how long a catch-up feed stays open while its lane is full, and any feed
	// waits before it looks again whether the lane is.
	patience = 2 * time.Second
)

// detach takes a full lane off the live feed, which goes on, and has it catch up by
// a feed of its own. It returns false, and the live feed waits, while no other attached
// lane would run short meanwhile: so the last one stays, and lanes that are equally far
// behind share what is read and decoded. One that can look ahead, to conflate what has no
// room, need not wait for others.
func (p *Partition) detach(l *Lane) bool {
	p.feeding.Lock()
	defer p.feeding.Unlock()
	if !l.attached { // a replay has taken it off meanwhile
		return true
	}
	if !l.looksAhead() && !slices.ContainsFunc(p.lanes, func(other *Lane) bool { return other != l && other.attached && other.isShort() }) {
		return false
	}
	l.attached = false
	p.startCatchUp(l)
	return true
}

// startCatchUp is called with the lock of the feeding.
func (p *Partition) startCatchUp(l *Lane) {
	caught := make(chan struct{})
	l.caught = caught
	unseen := p.liveNext
	p.catching.Go(func() {
		defer close(caught)
		p.catchUp(l, unseen)
	})
}

// attach puts a lane back on the live feed once it was offered all that the live
// feed has offered.
func (p *Partition) attach(l *Lane) bool {
	p.feeding.Lock()
	defer p.feeding.Unlock()
	if l.next < p.liveNext || l.fed.Err() != nil {
		return false
	}
	l.attached = true
	l.t.mu.Lock()
	l.forgetAhead()
	l.t.mu.Unlock()
	close(p.joined)
	p.joined = make(chan struct{})
	return true
}

// catchUp feeds a detached lane, whenever it has room, until it is attached again or
// the assignment ends. What lies below the offset unseen the live feed does not look at.
func (p *Partition) catchUp(l *Lane, unseen int64) {
	log := p.engine.Logger.With("target", l.t.name, "topic", p.Topic, "partition", p.Partition)
	log.Info("target catches up here by a feed of its own", "offset", l.next)
	if l.t.latest && unseen-l.next > int64(l.t.settings.Window.Deliveries) {
		if err := p.survey(l, unseen); err != nil && l.fed.Err() == nil {
			log.Warn("look ahead of the target; it is sent more versions", "err", err)
		}
	}
	for n := 1; l.fed.Err() == nil; n++ {
		if l.awaitRoom(l.fed) != nil {
			return
		}
		if p.attach(l) {
			break
		}
		if err := p.readOn(l); err != nil && l.fed.Err() == nil {
			log.Warn("open catch-up feed; trying again", "err", err)
			_ = pause(l.fed, Retry{Initial: time.Second, Max: 10 * time.Second}.backoff(n, p.engine.Jitter)) // the loop sees the end
		}
	}
	if l.fed.Err() == nil {
		log.Info("target has caught up here")
	}
}

// readOn offers the lane the records from where it is, until it has caught up or has been
// full for a while.
func (p *Partition) readOn(l *Lane) error {
	next := func(box *inbox) (arrival, error) { return box.next(l.fed) }
	return p.read(l, next, func(r arrival) (more bool, err error) {
		took, err := p.feedOne(l, r)
		return took && l.next < p.passed(), err
	})
}

// read opens a catch-up feed from where the lane is. It returns when each has no use for
// more, or either fails.
func (p *Partition) read(l *Lane, next func(*inbox) (arrival, error), each func(arrival) (more bool, err error)) error {
	box := newInbox(l.next, catchUpBytes, &p.engine.inboxes, nil)
	defer box.close()
	from := event.Position{Topic: p.Topic, TopicID: p.TopicID, Partition: p.Partition, Offset: l.next, LeaderEpoch: p.epochs.at(l.next - 1)}
	feed, err := p.engine.Feeds.Open(l.t.name, from, func(records []*event.Record, start, end int64) bool {
		return p.admit(records, end) && box.put(records, start)
	}, p.Diverge)
	if err != nil {
		return err
	}
	defer feed.Close()
	box.resume = feed.Resume
	for {
		r, err := next(box)
		if err != nil {
			return err
		}
		if err := p.awaitSaved(l.fed); err != nil {
			return err
		}
		if err := l.t.readBytes(l.fed, r.Size()); err != nil {
			return err
		}
		if more, err := each(r); !more || err != nil {
			return err
		}
	}
}

// readBytes waits until the catch-up feeds of the target, over all partitions, may read
// n more bytes.
func (t *Target) readBytes(ctx context.Context, n int) error {
	for t.reading != nil && n > 0 {
		some := min(n, t.reading.Burst()) // a record may be larger than a second's worth
		if err := t.reading.WaitN(ctx, some); err != nil {
			return fmt.Errorf("wait for catch_up.max_bytes_per_second: %w", err)
		}
		n -= some
	}
	return nil
}

// passed is the offset up to which (exclusive) the live feed has come.
func (p *Partition) passed() int64 {
	p.feeding.Lock()
	defer p.feeding.Unlock()
	return p.liveNext
}

// feedOne brings one record of a catch-up feed to its lane. It returns false if the
// lane stayed full, or if the live feed has not passed the record: what it is, and its
// letter if nobody can read it, is for the live feed to say.
func (p *Partition) feedOne(l *Lane, r arrival) (took bool, err error) {
	if r.Offset < l.next {
		return true, nil
	}
	if passed := p.passed(); r.Offset >= passed {
		l.miss(min(r.lost, passed))
		l.passRange(l.next, passed)
		p.offered(l, passed-1)
		return false, nil
	}
	l.miss(r.lost)
	l.passRange(l.next, r.Offset)
	if l.settled(r.Offset) {
		p.offered(l, r.Offset)
		return true, nil
	}
	ctx, span := p.engine.Tracer.StartProcess(l.fed, r.Record)
	defer span.End()
	// What the live feed has passed it has buried. Below its start an earlier one may
	// have, or none: where a time to start from lies ahead of all cursors.
	ev, verdicts, err := p.judge(ctx, r.Record, r.Offset < p.liveStart && !l.replays(r.Offset))
	if err != nil {
		return false, err
	}
	var late <-chan time.Time // most records find room at once
	for {
		room := p.give(ctx, l, r.Record, ev, verdicts[l.index])
		if room == nil {
			p.offered(l, r.Offset)
			return true, nil
		}
		if late == nil {
			late = time.After(patience)
		}
		select {
		case <-room:
		case <-late:
			return false, nil
		case <-l.fed.Done():
			return false, context.Cause(l.fed)
		}
	}
}
