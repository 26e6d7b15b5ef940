package delivery

import (
	"context"
	"time"
)

// full reports whether the window has no room for one more delivery, which takes the
// place of old if that is not nil. A single delivery larger than the window passes an
// empty lane.
func (l *Lane) full(key string, size int64, old *pending) bool {
	w := l.t.settings.Window
	keys, count, bytes := len(l.keys), l.count, l.bytes
	if l.keys[key] == nil {
		keys++
	}
	if old != nil {
		count--
		bytes -= old.size
	}
	return count > 0 && (l.weight(keys, count+1) > w.Deliveries || bytes+size > l.capacity())
}

// capacity is how many bytes the lane may hold: its window, as far as the budget of the
// process allows. A replay gathers in the window whatever the budget says, since what
// does not fit is pushed before all of it was read.
func (l *Lane) capacity() int64 {
	window := int64(l.t.settings.Window.Bytes)
	if l.gathering {
		return window
	}
	return min(window, l.p.engine.windows.most(l.bytes))
}

func (l *Lane) hold(bytes int64) {
	l.bytes += bytes
	l.p.engine.windows.held.Add(bytes)
}

// short reports whether less than half of the window is left to do: a live feed that
// stood still could make the target idle.
func (l *Lane) short() bool {
	return 2*l.weight(len(l.keys), l.count) < l.t.settings.Window.Deliveries && 2*l.bytes < l.capacity()
}

func (l *Lane) isShort() bool {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	return l.short()
}

// weight is what so many deliveries of so many keys take of the window: with
// `deliver: latest` it counts keys, of which each has room for two.
func (l *Lane) weight(keys, deliveries int) int {
	if l.latest {
		return max(keys, (deliveries+1)/2)
	}
	return deliveries
}

// waitRoom returns the channel that is closed when the lane has room.
func (l *Lane) waitRoom() <-chan struct{} {
	room := l.room
	if room == nil {
		room = make(chan struct{})
		l.room = room
		if l.gathering {
			l.t.log.Warn("the window has no room for all policies of a replay: older versions are pushed before newer ones",
				"topic", l.p.Topic, "partition", l.p.Partition, "command", l.saved.Replay.CommandID)
			l.stopGathering()
		}
		l.t.pump() // a batch that can't grow goes now
	}
	return room // also if what the pump did has made some
}

// wakeFeed has the feed that waits for the window, if one does, look again.
func (l *Lane) wakeFeed() {
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
}

// awaitRoom waits until the lane has room. What the lane settles wakes it. But room is made
// also by what other lanes give back of the budget, and by a delivery that turns out not to
// ask: nobody tells of those, so it looks again now and then.
func (l *Lane) awaitRoom(ctx context.Context) error {
	for {
		l.t.mu.Lock()
		var room <-chan struct{}
		if !l.hasRoom() && !l.draining {
			room = l.waitRoom()
		}
		l.t.mu.Unlock()
		if room == nil {
			return nil
		}
		select {
		case <-room:
		case <-time.After(patience):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hasRoom asks for a tenth of the window, so that the feed does not wake for
// each single delivery, and for what the delivery needs that found no room. What gave way
// to versions beyond the window makes none while nothing is pushed.
func (l *Lane) hasRoom() bool {
	if l.t.latest && (l.t.paused || l.t.doubted()) && l.asks() {
		return false
	}
	most, bytes := l.t.settings.Window.Deliveries, l.capacity()
	return l.weight(len(l.keys), l.count) <= most-max(1, most/10) && (l.count == 0 || l.bytes+max(l.refused, bytes/10) <= bytes)
}

// asks reports whether the lane has anything by which a target in doubt can be asked, and
// that settles once the doubt is over. What is in flight does ask; its attempt is not looked
// into, since it may be making the document just now.
func (l *Lane) asks() bool {
	for _, q := range l.keys {
		if p := q.entries[0]; p.state == flying || p.sendable() {
			return true
		}
	}
	return false
}
