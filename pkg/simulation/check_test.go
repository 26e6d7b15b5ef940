package simulation

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// checker compares what happens with what is promised. World.mu guards it.
type checker struct {
	seed

	logs    []*partitionLog
	targets map[string]int // the place of each in the plan
	plans   []targetPlan
	ledgers map[string][]*ledger // by target and partition
	proof   proof
	named   map[place]bool // the names that no target has, whose letters were acknowledged
	broken  []string
}

func (c *checker) fail(format string, args ...any) {
	c.broken = append(c.broken, fmt.Sprintf(format, args...))
}

// settled reports whether an offset may be committed as settled for a target.
func (c *checker) settled(target string, partition int, offset int64) bool {
	log, l := c.logs[partition], c.ledgers[target][partition]
	if offset >= log.end() {
		return false
	}
	e, t := log.entries[offset], l.at(offset)
	return e == nil || offset < l.owed || t.acked || t.lettered || t.reported || t.excused || !c.wanted(e, target) && !c.garbage(e) ||
		c.superseded(target, log, e)
}

// of is what is known of a record for a target. Of one that was cut away nobody keeps it.
func (c *checker) of(target string, p event.Position) *truth {
	if !c.logs[p.Partition].has(p) {
		return new(truth)
	}
	return c.ledgers[target][p.Partition].at(p.Offset)
}

// wanted reports whether a record is one that the target is pushed.
func (c *checker) wanted(r *event.Record, target string) bool {
	return !c.garbage(r) && !c.filtered(r, c.targets[target])
}

// superseded reports whether a newer version can have taken the place of a record.
// Whoever asks for each offset so sees that the newest version settles for itself, or
// is owed.
func (c *checker) superseded(target string, log *partitionLog, r *event.Record) bool {
	return c.plans[c.targets[target]].latest() && r.Key != nil && c.wanted(r, target) &&
		slices.ContainsFunc(log.written[r.Offset+1:max(r.Offset+1, log.read)], func(n *event.Record) bool {
			return n != nil && string(n.Key) == string(r.Key) && c.wanted(n, target)
		})
}

// attempt begins a push. Before holds what the same batch carries before it.
func (c *checker) attempt(t *tenure, target string, d *connector.Delivery, before map[int64]bool) {
	log, partition, offset, key := t.seat.log, t.seat.log.id, d.Event.Offset, d.Key
	where := fmt.Sprintf("push of %d/%d to %.8s", partition, offset, target)
	tr := c.of(target, d.Event.Position)
	switch {
	case t.over:
		c.fail("%s: the partition was let go", where)
	case !t.drained.IsZero() && time.Now().After(t.drained) && !tr.split && log.has(d.Event.Position):
		c.fail("%s: it began after the drain did", where)
	}
	if want := fmt.Sprintf("%s/%d/%d/%s", t.topicID, partition, offset, target); d.ID != want {
		c.fail("%s: idempotency key is %s", where, d.ID)
	}
	if lane := t.lane(target); lane != nil && lane.Cursor.Settled(offset) {
		c.fail("%s: it had settled in the commit that the process began with", where)
	}
	f := flight{target, key}
	if other, busy := t.flying[f]; busy && !before[other] {
		c.fail("%s: %d of the same key is in flight", where, other)
	}
	if newest, ok := t.newest[f]; ok && newest > offset {
		c.fail("%s: %d of the same key has settled", where, newest)
	}
	t.flying[f] = offset
	tr.tries++
	switch {
	case log.has(d.Event.Position):
		c.turn(where, target, log, offset, before)
	case offset < log.since(t.cuts):
		c.fail("%s: the log never had that record", where)
	}
}

// turn checks that a target wants a record, and that its turn has come.
func (c *checker) turn(where, target string, log *partitionLog, offset int64, before map[int64]bool) {
	e := log.entries[offset]
	if e == nil {
		return
	}
	if !c.wanted(e, target) {
		c.fail("%s: the target does not want it", where)
	}
	for at := offset - 1; e.Key != nil && at >= log.start; at-- {
		p := log.entries[at]
		if p == nil || string(p.Key) != string(e.Key) {
			continue
		}
		if !before[at] && !c.settled(target, log.id, at) {
			c.fail("%s: %d of the same key has not settled", where, at)
		}
		return
	}
}

// applied notes that the external system took a push. A push that is not learnt is
// one whose outcome no owner of the partition will ever know: only such a one may
// come late. And so may one that was superseded, after a restart that knows of no push
// of a newer one.
func (c *checker) applied(t *tenure, target, key string, p event.Position) {
	if !t.seat.log.has(p) {
		return
	}
	l, tr, offset := c.ledgers[target][p.Partition], c.of(target, p), p.Offset
	forgotten := func(newest int64) bool {
		lane := t.lane(target)
		return c.plans[c.targets[target]].latest() && (lane == nil || !lane.Cursor.Settled(newest))
	}
	if newest, ok := l.first[key]; ok && newest > offset && !tr.applied && !tr.lettered && !forgotten(newest) {
		c.fail("push of %d/%d to %.8s arrived after %d of the same key", p.Partition, offset, target, newest)
	}
	tr.applied = true
	l.first[key] = max(l.first[key], offset)
	l.last[key] = offset
}

// answered ends a push: well, or not.
func (c *checker) answered(t *tenure, target, key string, p event.Position, err error, now time.Time) {
	f := flight{target, key}
	if t.flying[f] == p.Offset {
		delete(t.flying, f)
	}
	tr := c.of(target, p)
	if err != nil {
		tr.failures++
		return
	}
	tr.acked = true
	t.newest[f] = max(t.newest[f], p.Offset)
	if !tr.split {
		t.acked[target] = append(t.acked[target], learnt{p.Offset, now})
	}
}

// committed checks a checkpoint that the process took at the given time and the
// group accepted.
func (c *checker) committed(t *tenure, taken time.Time, offset int64, meta string) {
	partition := t.seat.log.id
	where := fmt.Sprintf("commit of %d/%d", partition, offset)
	if len(meta) > checkpoint.DefaultLimit {
		c.fail("%s: metadata of %d characters", where, len(meta))
	}
	cp, err := checkpoint.Decode(meta, offset, t.topicID)
	if err != nil {
		c.fail("%s: %v", where, err)
		return
	}
	cut := t.seat.log.since(t.cuts)
	lanes := map[string]checkpoint.Lane{}
	for _, l := range cp.Lanes {
		lanes[l.Name] = l
		if t.targets[l.Name] && l.Cursor.Next() < offset {
			c.fail("%s: %.8s has come to %d only", where, l.Name, l.Cursor.Next())
		}
		c.checkCursor(where, l.Name, partition, l.Cursor, cut)
	}
	for target := range t.targets {
		lane, ok := lanes[target]
		if !ok {
			c.fail("%s: %.8s is missing", where, target)
			continue
		}
		t.acked[target] = slices.DeleteFunc(t.acked[target], func(l learnt) bool {
			if l.at.Before(taken) && !lane.Cursor.Settled(l.offset) {
				c.fail("%s: %.8s had %d before, and the commit does not say so", where, target, l.offset)
			}
			return l.at.Before(taken)
		})
	}
	for _, was := range t.given.Lanes {
		lane, ok := lanes[was.Name]
		if !ok {
			c.fail("%s: %.8s was forgotten", where, was.Name)
		} else if !t.targets[was.Name] && (lane.Cursor.Next() != was.Cursor.Next() ||
			!slices.Equal(lane.Cursor.Runs(), was.Cursor.Runs())) {
			c.fail("%s: the cursor of %.8s changed under a config without it", where, was.Name)
		}
	}
}

// checkCursor fails if a cursor claims more than is true. What it claims of the log above
// a cut, which its process does not know of yet, is for whoever begins with it.
func (c *checker) checkCursor(where, target string, partition int, cursor *checkpoint.Cursor, cut int64) {
	log := c.logs[partition]
	highest := min(cursor.Highest(), cut)
	switch {
	case highest > log.end():
		c.fail("%s: %.8s has come to %d, beyond the log", where, target, highest)
		return
	case cut < math.MaxInt64 && c.plans[c.targets[target]].latest():
		return // nor does it know that the newer version is gone
	}
	l := c.ledgers[target][partition]
	for offset := l.checked; offset < highest; offset++ {
		if cursor.Settled(offset) && !c.settled(target, partition, offset) {
			c.fail("%s: %d has not settled for %.8s", where, offset, target)
		} else if cursor.Settled(offset) {
			c.proven(where, target, partition, offset)
		}
	}
	l.checked = max(l.checked, min(cursor.Next(), cut))
}

// letter checks that a dead letter has its reason. It is acked if the process learns
// that the broker has it.
func (c *checker) letter(p event.Position, target, class string, attempts int, acked bool) {
	if !c.logs[p.Partition].has(p) {
		return
	}
	partition, offset := int(p.Partition), p.Offset
	e := c.logs[partition].entries[offset]
	where := fmt.Sprintf("dead letter of %d/%d for %q", partition, offset, target)
	if target == "" {
		if e != nil && !c.garbage(e) {
			c.fail("%s: the record can be decoded", where)
		}
		for _, l := range c.ledgers {
			tr := l[partition].at(offset)
			tr.lettered = tr.lettered || acked
		}
		return
	}
	l, ok := c.ledgers[target]
	if !ok {
		if e != nil && !c.unknown(e) {
			c.fail("%s: no record names it", where)
		}
		c.named[place{partition, offset}] = c.named[place{partition, offset}] || acked
		return
	}
	tr := l[partition].at(offset)
	switch class {
	case "permanent":
		if !tr.denied {
			c.fail("%s: the target never refused it for good", where)
		}
	case "transient":
		if most := c.plans[c.targets[target]].settings.Retry.MaxAttempts; attempts < most || tr.failures < most {
			c.fail("%s: %d attempts of %d", where, attempts, most)
		}
	default:
		c.fail("%s: class %s", where, class)
	}
	tr.lettered = tr.lettered || acked
}

// lost notes a report of records that left the log before they were delivered.
func (c *checker) lost(target string, partition int, from, to int64) {
	for offset := from; offset <= to; offset++ {
		if offset >= c.logs[partition].start {
			c.fail("report of %d/%d as lost for %.8s: the log has it", partition, offset, target)
		}
		c.ledgers[target][partition].at(offset).reported = true
	}
}

// nameless fails unless each name that no target has became a letter.
func (c *checker) nameless(partition int) {
	log := c.logs[partition]
	from := log.start
	for _, l := range c.ledgers {
		from = max(from, l[partition].owed)
	}
	for offset := from; offset < log.end(); offset++ {
		if r := log.entries[offset]; r != nil && c.unknown(r) && !c.named[place{partition, offset}] {
			c.fail("dead letter of %d/%d is lost: it names a target that nobody has", partition, offset)
		}
	}
}

// cut is told that a log was cut, or made anew.
func (c *checker) cut(log *partitionLog) {
	at := log.cuts[len(log.cuts)-1]
	for _, ls := range c.ledgers {
		ls[log.id].cut(log, at)
	}
	maps.DeleteFunc(c.named, func(p place, _ bool) bool { return p.partition == log.id && p.offset >= at })
}

// reset makes everything from an offset on owed again, and nothing below it.
func (c *checker) reset(partition int, offset int64) {
	c.proof = proof{}
	for _, ls := range c.ledgers {
		l := newLedger()
		l.owed = offset
		ls[partition] = l
	}
}

// finish is called once everything has healed and come to rest.
func (c *checker) finish(partition int) {
	c.nameless(partition)
	log := c.logs[partition]
	for target, ls := range c.ledgers {
		last := map[string]int64{}
		for offset := range log.end() {
			if !c.settled(target, partition, offset) {
				c.fail("%d/%d is lost: %.8s never had it", partition, offset, target)
			}
			e, tr := log.entries[offset], ls[partition].at(offset)
			switch {
			case e == nil || e.Key == nil:
			case tr.applied && !tr.lettered:
				last[string(e.Key)] = offset
			case tr.lettered && c.plans[c.targets[target]].latest():
				// It may have superseded a version that a crash had the target have, and
				// lose to an earlier one.
				delete(last, string(e.Key))
			}
		}
		for key, offset := range ls[partition].last {
			if want, ok := last[key]; ok && offset < want {
				c.fail("%.8s ended with %d/%d of key %s, after it had %d", target, partition, offset, key, want)
			}
		}
	}
}

// err is the first promise that was broken, if any.
func (c *checker) err() error {
	if len(c.broken) == 0 {
		return nil
	}
	return errors.New(c.broken[0])
}
