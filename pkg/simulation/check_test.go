package simulation

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/checkpoint"
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
	return e == nil || offset < l.owed || t.acked || t.lettered || t.reported || !c.wanted(e, target) && !c.garbage(e) ||
		c.superseded(target, log, e)
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

// assigned begins a tenure: it works out by itself where each target must begin.
func (c *checker) assigned(t *tenure) {
	s := t.seat
	base := s.offset
	if base < 0 {
		base = s.log.start
	}
	now := base
	t.given = &checkpoint.Checkpoint{}
	if s.meta != "" {
		cp, err := checkpoint.Decode(s.meta, s.offset, s.log.topicID)
		if err != nil {
			c.fail("commit of partition %d does not decode: %v", s.log.id, err)
			return
		}
		t.given = cp
	}
	for _, lane := range t.given.Lanes {
		now = max(now, lane.Cursor.Next())
	}
	for target := range t.targets {
		if t.lane(target) == nil {
			c.ledgers[target][s.log.id].owed = now
		}
	}
}

// lane returns what the tenure was given of a target, nil if nothing.
func (t *tenure) lane(target string) *checkpoint.Lane {
	i := slices.IndexFunc(t.given.Lanes, func(l checkpoint.Lane) bool { return l.Name == target })
	if i < 0 {
		return nil
	}
	return &t.given.Lanes[i]
}

// attempt begins a push. Before holds what the same batch carries before it.
func (c *checker) attempt(t *tenure, target, id string, key string, offset int64, before map[int64]bool) {
	partition := t.seat.log.id
	where := fmt.Sprintf("push of %d/%d to %.8s", partition, offset, target)
	e := t.seat.log.entries[offset]
	switch {
	case t.over:
		c.fail("%s: the partition was let go", where)
	case !t.drained.IsZero() && time.Now().After(t.drained) && !c.ledgers[target][partition].at(offset).split:
		c.fail("%s: it began after the drain did", where)
	case e != nil && !c.wanted(e, target):
		c.fail("%s: the target does not want it", where)
	}
	if want := fmt.Sprintf("%s/%d/%d/%s", t.seat.log.topicID, partition, offset, target); id != want {
		c.fail("%s: idempotency key is %s", where, id)
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
	if e != nil && e.Key != nil {
		for at := offset - 1; at >= t.seat.log.start; at-- {
			p := t.seat.log.entries[at]
			if p == nil || string(p.Key) != string(e.Key) {
				continue
			}
			if !before[at] && !c.settled(target, partition, at) {
				c.fail("%s: %d of the same key has not settled", where, at)
			}
			break
		}
	}
	t.flying[f] = offset
	c.ledgers[target][partition].at(offset).tries++
}

// applied notes that the external system took a push. A push that is not learnt is
// one whose outcome no owner of the partition will ever know: only such a one may
// come late. And so may one that was superseded, after a restart that knows of no push
// of a newer one.
func (c *checker) applied(t *tenure, target, key string, offset int64) {
	partition := t.seat.log.id
	l := c.ledgers[target][partition]
	tr := l.at(offset)
	forgotten := func(newest int64) bool {
		lane := t.lane(target)
		return c.plans[c.targets[target]].latest() && (lane == nil || !lane.Cursor.Settled(newest))
	}
	if newest, ok := l.first[key]; ok && newest > offset && !tr.applied && !tr.lettered && !forgotten(newest) {
		c.fail("push of %d/%d to %.8s arrived after %d of the same key", partition, offset, target, newest)
	}
	tr.applied = true
	l.first[key] = max(l.first[key], offset)
	l.last[key] = offset
}

// answered ends a push: well, or not.
func (c *checker) answered(t *tenure, target, key string, offset int64, err error, now time.Time) {
	f := flight{target, key}
	if t.flying[f] == offset {
		delete(t.flying, f)
	}
	tr := c.ledgers[target][t.seat.log.id].at(offset)
	if err != nil {
		tr.failures++
		return
	}
	tr.acked = true
	t.newest[f] = max(t.newest[f], offset)
	if !tr.split {
		t.acked[target] = append(t.acked[target], learnt{offset, now})
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
	cp, err := checkpoint.Decode(meta, offset, t.seat.log.topicID)
	if err != nil {
		c.fail("%s: %v", where, err)
		return
	}
	lanes := map[string]checkpoint.Lane{}
	for _, l := range cp.Lanes {
		lanes[l.Name] = l
		if t.targets[l.Name] && l.Cursor.Next() < offset {
			c.fail("%s: %.8s has come to %d only", where, l.Name, l.Cursor.Next())
		}
		c.checkCursor(where, l.Name, partition, l.Cursor)
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

// checkCursor fails if a cursor claims more than is true.
func (c *checker) checkCursor(where, target string, partition int, cursor *checkpoint.Cursor) {
	log := c.logs[partition]
	if highest := cursor.Highest(); highest > log.end() {
		c.fail("%s: %.8s has come to %d, beyond the log", where, target, highest)
		return
	}
	l := c.ledgers[target][partition]
	for offset := l.checked; offset < cursor.Highest(); offset++ {
		if cursor.Settled(offset) && !c.settled(target, partition, offset) {
			c.fail("%s: %d has not settled for %.8s", where, offset, target)
		} else if cursor.Settled(offset) {
			c.proven(where, target, partition, offset)
		}
	}
	l.checked = max(l.checked, cursor.Next())
}

// letter checks that a dead letter has its reason. It is acked if the process learns
// that the broker has it.
func (c *checker) letter(partition int, offset int64, target, class string, attempts int, acked bool) {
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
