//go:build e2e

package chaos

import (
	"cmp"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/receipt"
)

// lane is what became of the deliveries of one target on one partition, until the
// offsets were reset or after that.
type lane struct {
	target    string
	partition int32
	topicID   string
	again     bool // the offsets were reset before it
	last      bool // nothing was reset after it
	records   []record
	arrivals  []arrival // in the order in which they began
	letters   []letter
	commits   []commit
	receipts  []*receipt.Receipt          // of what was delivered here
	holding   map[string]*receipt.Receipt // what they say of each key in the end, of all partitions
	tenures   []*tenure
	incidents []*incident

	start     int64       // where the target began here
	newer     []int64     // by offset: the next version of its key that the target is owed, -1 if there is none
	settled   []time.Time // by offset: the earliest moment at which it can have settled
	committed []time.Time // by offset: when it was first seen committed as settled
	by        map[int64][]arrival
}

var (
	always = time.Time{}         // settled without a push
	never  = time.Unix(1<<40, 0) // not settled
)

// lanes makes the account of each target, partition and era.
func (h *history) lanes() (lanes []*lane) {
	eras := [][2]time.Time{{always, never}}
	if !h.reset.IsZero() {
		eras = [][2]time.Time{{always, h.reset}, {h.reset, never}}
	}
	for target := range h.arrivals {
		holding := h.holding(target)
		for p := range h.records {
			for i, era := range eras {
				l := &lane{
					target: target, partition: p, topicID: h.topicID, again: i > 0, last: i == len(eras)-1, records: h.records[p],
					holding: holding, tenures: h.tenures[p], incidents: h.incidents,
				}
				l.take(h, func(t time.Time) bool { return !t.Before(era[0]) && t.Before(era[1]) })
				l.reckon()
				lanes = append(lanes, l)
			}
		}
	}
	slices.SortFunc(lanes, func(a, b *lane) int {
		return cmp.Or(cmp.Compare(a.target, b.target), cmp.Compare(a.partition, b.partition))
	})
	return lanes
}

// take takes from a history what belongs to the lane and to its era.
func (l *lane) take(h *history, within func(time.Time) bool) {
	for _, a := range h.arrivals[l.target] {
		if a.partition == l.partition && within(a.begun) {
			l.arrivals = append(l.arrivals, a)
		}
	}
	slices.SortFunc(l.arrivals, func(a, b arrival) int { return a.begun.Compare(b.begun) })
	for _, x := range h.letters {
		if x.partition == l.partition && within(x.written) && (x.target == l.target || x.target == "") {
			l.letters = append(l.letters, x)
		}
	}
	for _, c := range h.commits {
		// The era after a reset begins with the commit without cursors that made it.
		if c.partition == l.partition && within(c.seen) && (!l.again || len(l.commits) > 0 || c.lanes == nil) {
			l.commits = append(l.commits, c)
		}
	}
	for _, r := range h.held {
		if r.Target == l.target && r.Source.Partition == l.partition && within(r.Time) {
			l.receipts = append(l.receipts, r)
		}
	}
}

// reckon works out when each offset settled and when that was committed.
func (l *lane) reckon() {
	l.start = l.begin()
	l.newer = make([]int64, len(l.records))
	l.settled = slices.Repeat([]time.Time{never}, len(l.records))
	l.committed = slices.Repeat([]time.Time{never}, len(l.records))
	next := map[string]int64{}
	for o, r := range slices.Backward(l.records) {
		l.newer[o] = -1
		if n, ok := next[r.key]; ok {
			l.newer[o] = n
		}
		switch {
		case int64(o) < l.start || l.filters(r):
			l.settled[o] = always
		case l.conflates() && l.newer[o] >= 0 && r.kind != garbage && r.kind != unknown:
			// From then on it may be superseded.
			l.settled[o] = l.records[l.newer[o]].written
		}
		if !l.filters(r) && r.kind != garbage && r.kind != unknown {
			next[r.key] = int64(o)
		}
	}
	earliest := func(at *time.Time, t time.Time) {
		if t.Before(*at) {
			*at = t
		}
	}
	l.by = map[int64][]arrival{}
	for _, a := range l.arrivals {
		l.by[a.offset] = append(l.by[a.offset], a)
		if a.settles() {
			earliest(&l.settled[a.offset], a.ended)
		}
	}
	for _, x := range l.letters {
		earliest(&l.settled[x.offset], x.written)
	}
	for _, c := range l.commits {
		for _, r := range c.holds(l.target) {
			for o := max(r.From, 0); o < min(r.To, int64(len(l.records))); o++ {
				earliest(&l.committed[o], c.seen)
			}
		}
	}
}

// begin is the first offset that the target is owed: 0, but for the one that was
// added and starts where the furthest of the others was. The first commit that
// knows it is not before that.
func (l *lane) begin() int64 {
	if l.target != "late" || l.again {
		return 0
	}
	for _, c := range l.commits {
		if cursor := c.lanes[l.target]; cursor != nil {
			return cursor.Next()
		}
	}
	return int64(len(l.records))
}

// filters reports whether the target's `when` excludes the record. A tombstone skips it.
func (l *lane) filters(r record) bool {
	return l.target == "picky" && r.version%3 == 0 && (r.kind == plain || r.kind == refused)
}

// conflates reports whether the target takes the newest version of a key alone.
func (l *lane) conflates() bool { return l.target == "newest" }

// struck reports whether one of the incidents that match overlaps the given time.
func (l *lane) struck(from, to time.Time, match func(*incident) bool) bool {
	return slices.ContainsFunc(l.incidents, func(i *incident) bool {
		return match(i) && !i.from.After(to) && !i.to.Before(from)
	})
}
