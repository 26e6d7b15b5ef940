package simulation

import (
	"fmt"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
)

// garbage tells the records whose bytes can't be decoded.
func (s seed) garbage(r *event.Record) bool { return s.content(r.Partition, r.Offset) == 0 }

// unknown tells the records that name a target which nobody has.
func (s seed) unknown(r *event.Record) bool { return s.content(r.Partition, r.Offset) == 1 }

// filtered tells the records that a target does not want.
func (s seed) filtered(r *event.Record, target int) bool {
	return s.oneIn(6, forFilter, int(r.Partition), int(r.Offset), target)
}

func (s seed) content(partition int32, offset int64) int {
	return s.below(40, forContent, int(partition), int(offset), 0)
}

// partitionLog is one partition of the simulated topic. World.mu guards it.
type partitionLog struct {
	seed

	id      int
	topicID event.TopicID
	entries []*event.Record // by offset; nil is a gap
	written []*event.Record // the same before compaction
	read    int64           // one past the highest offset that a process was given
	start   int64
	epoch   int32
	grown   chan struct{} // closed when something is appended, and then made anew
}

const (
	topic = "policies"
	keys  = 8 // of each partition
)

// large is shared by the values of large records, which so cost nothing.
var large = make([]byte, 700<<10)

func (l *partitionLog) end() int64 { return int64(len(l.entries)) }

// append adds n records, whose content is drawn by their offsets.
func (l *partitionLog) append(n int) {
	for range n {
		at := l.end()
		r := &event.Record{
			Position:  event.Position{Topic: topic, TopicID: l.topicID, Partition: int32(l.id), Offset: at, LeaderEpoch: l.epoch},
			Value:     fmt.Appendf(nil, "%d/%d", l.id, at),
			Timestamp: time.Now(),
		}
		if k := l.below(keys*4/3, forContent, l.id, int(at), 1); k < keys {
			r.Key = fmt.Appendf(nil, "%d-%d", l.id, k)
		}
		switch l.content(r.Partition, at) {
		case 2, 3:
			r.Value = nil
		case 4, 5:
			r.Value = large
		}
		l.entries, l.written = append(l.entries, r), append(l.written, r)
	}
	l.grow()
}

// gap takes an offset that no consumer ever sees.
func (l *partitionLog) gap() {
	l.entries, l.written = append(l.entries, nil), append(l.written, nil)
	l.grow()
}

func (l *partitionLog) grow() {
	close(l.grown)
	l.grown = make(chan struct{})
}

// compact removes some of the records of which a later one has the key.
func (l *partitionLog) compact(round int) {
	newest := map[string]bool{}
	for at := len(l.entries) - 1; at >= 0; at-- {
		r := l.entries[at]
		if r == nil || r.Key == nil || int64(at) < l.start {
			continue
		}
		if newest[string(r.Key)] && !l.oneIn(3, forCompaction, l.id, at, round) {
			l.entries[at] = nil
		}
		newest[string(r.Key)] = true
	}
}

// sticky tells the records of the key at which targets stick.
func (l *partitionLog) sticky(offset int) bool {
	r := l.written[offset]
	return r != nil && string(r.Key) == fmt.Sprintf("%d-0", l.id)
}

// fetch returns up to n records from an offset on, and where to go on.
func (l *partitionLog) fetch(from int64, n int) (records []*event.Record, next int64) {
	for next = max(from, l.start); next < l.end() && len(records) < n; next++ {
		if r := l.entries[next]; r != nil {
			records = append(records, r)
		}
	}
	l.read = max(l.read, next)
	return records, next
}
