//go:build e2e

package chaos

import (
	"slices"
	"time"
)

// lane is what became of the deliveries of one target on one partition, until the
// offsets were reset or after that.
type lane struct {
	target    string
	partition int32
	again     bool // the offsets were reset before it
	last      bool // nothing was reset after it
	records   []record
	arrivals  []arrival // in the order in which they began
	letters   []letter
	commits   []commit
	incidents []*incident

	start     int64       // where the target began here
	settled   []time.Time // by offset: the earliest moment at which it can have settled
	committed []time.Time // by offset: when it was first seen committed as settled
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
		for p := range h.records {
			for i, era := range eras {
				within := func(t time.Time) bool { return !t.Before(era[0]) && t.Before(era[1]) }
				l := &lane{target: target, partition: p, again: i > 0, last: i == len(eras)-1, records: h.records[p], incidents: h.incidents}
				for _, a := range h.arrivals[target] {
					if a.partition == p && within(a.begun) {
						l.arrivals = append(l.arrivals, a)
					}
				}
				for _, x := range h.letters {
					if x.partition == p && within(x.written) && (x.target == target || x.target == "") {
						l.letters = append(l.letters, x)
					}
				}
				for _, c := range h.commits {
					if c.partition == p && within(c.seen) {
						l.commits = append(l.commits, c)
					}
				}
				slices.SortFunc(l.arrivals, func(a, b arrival) int { return a.begun.Compare(b.begun) })
				l.reckon()
				lanes = append(lanes, l)
			}
		}
	}
	return lanes
}

// reckon works out when each offset settled and when that was committed.
func (l *lane) reckon() {
	l.start = l.begin()
	l.settled = slices.Repeat([]time.Time{never}, len(l.records))
	l.committed = slices.Repeat([]time.Time{never}, len(l.records))
	earliest := func(at *time.Time, t time.Time) {
		if t.Before(*at) {
			*at = t
		}
	}
	for i, r := range l.records {
		if int64(i) < l.start || l.filters(r) {
			l.settled[i] = always
		}
	}
	for _, a := range l.arrivals {
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
// added, which starts where the furthest of the others was. The first commit that
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

// delivered are the arrivals of each offset, in the order in which they began.
func (l *lane) delivered() map[int64][]arrival {
	by := map[int64][]arrival{}
	for _, a := range l.arrivals {
		by[a.offset] = append(by[a.offset], a)
	}
	return by
}

// struck reports whether one of the incidents that match overlaps the given time.
func (l *lane) struck(from, to time.Time, match func(*incident) bool) bool {
	return slices.ContainsFunc(l.incidents, func(i *incident) bool {
		return match(i) && !i.from.After(to) && !i.to.Before(from)
	})
}
