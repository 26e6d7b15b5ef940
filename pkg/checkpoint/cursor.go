package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"sort"
)

// ErrSettled reports that an offset settled twice: a vote too many, which only a
// mistake in the caller can cause.
var ErrSettled = errors.New("already settled")

// Cursor is the ledger of one lane: which offsets have settled. All offsets
// below Next have. It keeps runs, not offsets, so its size grows with the number
// of holes and not with the distance between them. It is not safe for concurrent
// use.
type Cursor struct {
	next int64
	// runs hold at least one offset that was settled for itself: what a
	// checkpoint must record.
	runs spans
	// free holds the runs for which nothing was pushed. Reading them again costs
	// nothing, so no checkpoint records them; otherwise a topic with a marker
	// after each record would need a run for each record that waits.
	free spans
	// size is the encoded size of runs in bytes.
	//
	// No span of runs, of free, and of the offsets below next adjoins another.
	size int
}

// New returns a cursor at next, with nothing settled above it.
func New(next int64) *Cursor { return &Cursor{next: next} }

// Next is the lowest offset that has not settled.
func (c *Cursor) Next() int64 { return c.next }

// Highest is one past the highest settled offset, and Next if none above Next is.
func (c *Cursor) Highest() int64 {
	return max(c.next, c.runs.end(), c.free.end())
}

// Settle records that the delivery at offset has ended. It returns [ErrSettled],
// and changes nothing, if it had before.
func (c *Cursor) Settle(offset int64) error {
	if c.Settled(offset) {
		return fmt.Errorf("settle offset %d: %w", offset, ErrSettled)
	}
	c.add(Run{From: offset, To: offset + 1}, true)
	return nil
}

// SettleRange settles the offsets from (inclusive) to (exclusive) for which
// nothing was pushed: a gap between two records, or a record that was filtered
// out. Some of them may be settled already, as a feed that starts again sees the
// same gaps. Unless they adjoin a run that counts, checkpoints leave them out.
func (c *Cursor) SettleRange(from, to int64) {
	if from = max(from, c.next); from < to {
		c.add(Run{From: from, To: to}, false)
	}
}

// add settles r, which begins at next or above and is not empty.
func (c *Cursor) add(r Run, pushed bool) {
	freeLow, freeHigh := c.free.touching(r)
	r = c.free.join(r, freeLow, freeHigh)
	low, high := c.runs.touching(r)
	if low == high && !pushed && r.From > c.next {
		c.free = c.free.replace(freeLow, freeHigh, r)
		return
	}
	c.free = c.free.remove(freeLow, freeHigh)

	c.size -= c.cost(low, high+1)
	r = c.runs.join(r, low, high)
	if r.From == c.next {
		c.runs = c.runs.remove(low, high)
		c.next = r.To
		c.size += c.cost(0, 1)
		return
	}
	c.runs = c.runs.replace(low, high, r)
	c.size += c.cost(low, low+2)
}

// Record makes checkpoints record all that has settled below offset, which itself has
// not: also what settled by SettleRange. It is for offsets that settled so because a
// later one takes their place. Before that one is pushed they must be recorded, or a
// restart would read them again and push them after it.
func (c *Cursor) Record(below int64) {
	n := sort.Search(len(c.free), func(i int) bool { return c.free[i].From >= below })
	for _, r := range c.free[:n] {
		i, _ := c.runs.touching(r)
		c.size -= c.cost(i, i+1)
		c.runs = c.runs.replace(i, i, r)
		c.size += c.cost(i, i+2)
	}
	c.free = c.free.remove(0, n)
}

// RecordAt makes checkpoints record an offset that settled by SettleRange.
func (c *Cursor) RecordAt(offset int64) {
	if !c.Recorded(offset) {
		c.add(Run{From: offset, To: offset + 1}, true)
	}
}

// Recorded reports whether a checkpoint says that offset has settled.
func (c *Cursor) Recorded(offset int64) bool {
	_, ok := c.runs.containing(offset)
	return ok || offset < c.next
}

// Settled reports whether offset has settled.
func (c *Cursor) Settled(offset int64) bool { return c.NextUnsettled(offset) != offset }

// NextUnsettled returns the lowest offset that has not settled, of from and those above it.
func (c *Cursor) NextUnsettled(from int64) int64 {
	from = max(from, c.next)
	for _, s := range []spans{c.runs, c.free} {
		if r, ok := s.containing(from); ok {
			return r.To
		}
	}
	return from
}

// EndOfUnsettled is one past the highest offset below end that has not settled, and Next
// or less if there is none.
func (c *Cursor) EndOfUnsettled(end int64) int64 {
	for _, s := range []spans{c.runs, c.free} {
		if r, ok := s.containing(end - 1); ok {
			return r.From // no run adjoins another
		}
	}
	return end
}

// Runs returns the runs above Next that a checkpoint records, in ascending order.
func (c *Cursor) Runs() []Run { return slices.Clone(c.runs) }

// Forget takes back everything that settled at or above from: the log was
// truncated there, so that those offsets are, or will be, other records.
func (c *Cursor) Forget(from int64) {
	c.runs = c.runs.cut(from)
	c.free = c.free.cut(from)
	c.next = min(c.next, from)
	c.size = c.cost(0, len(c.runs))
}

// Reopen takes back what settled of the offsets from (inclusive) to (exclusive), to have
// it delivered again. What settled above stays so and is recorded.
func (c *Cursor) Reopen(from, to int64) {
	if from >= to {
		return
	}
	var kept spans
	for _, r := range append(spans{{From: 0, To: c.next}}, c.runs...) {
		if r.To > to {
			kept = append(kept, Run{From: max(r.From, to), To: r.To})
		}
	}
	c.Forget(from)
	for _, r := range kept {
		c.add(r, true)
	}
}

// Clone returns a copy that shares nothing with c.
func (c *Cursor) Clone() *Cursor {
	clone := *c
	clone.runs, clone.free = slices.Clone(c.runs), slices.Clone(c.free)
	return &clone
}

// cost is the encoded size in bytes of the runs from low to high (exclusive), or
// to the last if there are fewer.
func (c *Cursor) cost(low, high int) int {
	below := c.next
	if low > 0 {
		below = c.runs[low-1].To
	}
	n := 0
	for _, r := range c.runs[low:min(high, len(c.runs))] {
		n += uvarintLen(r.From-below) + uvarintLen(r.To-r.From)
		below = r.To
	}
	return n
}
