package simulation

import (
	"fmt"
	"math"
	"slices"
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
	terms   []term          // of the leaders that are known
	cuts    []int64         // where the log was cut, each time; at 0 it was made anew
	gone    map[string]bool // the keys of what was cut away
	news    chan struct{}   // closed when there is a record or a leader more, and then made anew
}

// term is when a leader began.
type term struct {
	epoch int32
	start int64
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
		if k := l.below(keys*4/3, forContent, l.id, int(at), 1+len(l.cuts)); k < keys {
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
	l.tell()
}

// gap takes an offset that no consumer ever sees.
func (l *partitionLog) gap() {
	l.entries, l.written = append(l.entries, nil), append(l.written, nil)
	l.tell()
}

func (l *partitionLog) tell() {
	close(l.news)
	l.news = make(chan struct{})
}

// elect has a new leader, who has all of the log.
func (l *partitionLog) elect() {
	l.epoch++
	l.terms = append(l.terms, term{l.epoch, l.end()})
	l.tell()
}

// cut has a new leader, who lacks what lies at an offset and above.
func (l *partitionLog) cut(at int64) {
	for _, r := range l.written[at:] {
		if r != nil && r.Key != nil {
			l.gone[string(r.Key)] = true
		}
	}
	l.entries, l.written, l.read = l.entries[:at], l.written[:at], min(l.read, at)
	l.terms = slices.DeleteFunc(l.terms, func(t term) bool { return t.start >= at })
	l.cuts = append(l.cuts, at)
	l.elect()
}

// recreate is the log of a topic that has another id.
func (l *partitionLog) recreate() {
	l.topicID[0]++
	l.start, l.epoch = 0, -1
	l.cut(0)
}

// epochEnd is as OffsetForLeaderEpoch answers (KIP-101).
func (l *partitionLog) epochEnd(epoch int32) int64 {
	for _, t := range l.terms {
		if t.epoch > epoch {
			return t.start
		}
	}
	return l.end()
}

// epochOf is the one under which an offset was written.
func (l *partitionLog) epochOf(offset int64) (epoch int32) {
	for _, t := range l.terms {
		if t.start <= offset {
			epoch = t.epoch
		}
	}
	return epoch
}

// since is the offset up to which the log is what it was after so many cuts.
func (l *partitionLog) since(cuts int) int64 {
	if cuts == len(l.cuts) {
		return math.MaxInt64
	}
	return slices.Min(l.cuts[cuts:])
}

// has reports whether a record is one of the log as it is now.
func (l *partitionLog) has(p event.Position) bool {
	if len(l.cuts) == 0 {
		return true
	}
	return p.TopicID == l.topicID && p.Offset < l.end() && l.written[p.Offset] != nil && l.written[p.Offset].LeaderEpoch == p.LeaderEpoch
}

// offsetAt is the offset of the first record that is not older.
func (l *partitionLog) offsetAt(at time.Time) int64 {
	for offset := l.start; offset < l.end(); offset++ {
		if r := l.entries[offset]; r != nil && !r.Timestamp.Before(at) {
			return offset
		}
	}
	return l.end()
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
