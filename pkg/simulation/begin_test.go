package simulation

import (
	"errors"
	"math"
	"slices"

	"github.com/hms-sme/policysync/pkg/checkpoint"
)

// This file is where the checker has a tenure begin: by itself, from the group's commit,
// the log, and what was cut away.

// assigned begins a tenure. Added tells that the group has committed other partitions.
func (c *checker) assigned(t *tenure, added bool) {
	s, log := t.seat, t.seat.log
	t.given = &checkpoint.Checkpoint{}
	base, whole := s.offset, false
	cp, err := checkpoint.Decode(s.meta, max(0, s.offset), log.topicID)
	mismatch, _ := errors.AsType[*checkpoint.MismatchError](err)
	switch {
	case s.offset < 0, mismatch != nil && mismatch.OtherTopic(), s.meta == "" && s.offset > log.end():
		base = log.start
	case s.meta == "":
	case err != nil:
		c.fail("commit of partition %d does not decode: %v", log.id, err)
	default:
		t.given, whole = cp, true
		base = min(base, c.forget(t))
	}
	now := base
	for _, lane := range t.given.Lanes {
		now, t.highest = max(now, lane.Cursor.Next()), max(t.highest, lane.Cursor.Highest())
	}
	for target := range t.targets {
		if t.lane(target) != nil {
			continue
		}
		l, start := c.ledgers[target][log.id], c.plans[c.targets[target]].settings.Start
		switch {
		case !start.At.IsZero() && (whole || s.offset < 0 && !added):
			l.owed = log.offsetAt(start.At)
		case !whole:
			l.owed = base
		case start.Earliest:
			l.owed = log.start
		default:
			l.owed = now
		}
		t.highest = max(t.highest, l.owed)
		clear(l.first) // of what it may have been pushed already no commit knows
	}
}

// forget takes from what a tenure was given what it must not count on, and returns where
// the log was cut since. A target that takes the newest version alone begins again with
// the log: a version that waited may be gone, and those that it replaced had settled. Only
// if nothing that any target had settled is gone, nobody can notice that, nor bring back what
// retention has taken since.
func (c *checker) forget(t *tenure) int64 {
	log, cut := t.seat.log, t.seat.log.since(t.seat.cuts)
	highest := t.seat.offset
	for _, lane := range t.given.Lanes {
		highest = max(highest, lane.Cursor.Highest())
	}
	for _, lane := range t.given.Lanes {
		l, latest := c.ledgers[lane.Name][log.id], c.plans[c.targets[lane.Name]].latest()
		switch {
		case highest > cut && (latest || !t.targets[lane.Name]): // then it is not known which
			lane.Cursor.Forget(log.start)
			l.checked = min(l.checked, log.start)
			clear(l.first)
			l.excuse(log, lane.Cursor, log.start)
		case highest > cut:
			lane.Cursor.Forget(cut)
		case cut < math.MaxInt64 && latest:
			l.excuse(log, lane.Cursor, cut)
		}
	}
	return cut
}

// excuse marks what a cursor claims below an offset for the sake of what was cut away.
func (l *ledger) excuse(log *partitionLog, cursor *checkpoint.Cursor, below int64) {
	for offset := range below {
		if r := log.entries[offset]; r != nil && log.gone[string(r.Key)] && cursor.Settled(offset) {
			l.at(offset).excused = true
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
