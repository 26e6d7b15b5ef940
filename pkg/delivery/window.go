package delivery

import "context"

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
	return count > 0 && (l.weight(keys, count+1) > w.Deliveries || bytes+size > int64(w.Bytes))
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
	if l.room == nil {
		l.room = make(chan struct{})
		l.stopGathering()
		l.t.pump() // a batch that can't grow goes now
	}
	return l.room
}

// awaitRoom waits until the lane has room.
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
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hasRoom asks for a tenth of the window, so that the feed does not wake for
// each single delivery, and for what the delivery needs that found no room.
func (l *Lane) hasRoom() bool {
	w := l.t.settings.Window
	return l.weight(len(l.keys), l.count) <= w.Deliveries-max(1, w.Deliveries/10) && (l.count == 0 || l.bytes+max(l.refused, int64(w.Bytes)/10) <= int64(w.Bytes))
}
