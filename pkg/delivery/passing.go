package delivery

import (
	"context"
	"slices"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// filter settles an offset whose event the target does not want. It is not recorded:
// to filter once more costs nothing.
func (l *Lane) filter(offset int64) {
	l.pass(offset, receipt.Filtered, func() { l.cursor.SettleRange(offset, offset+1) })
}

// bury settles a record whose dead letter is written. That is recorded like a push, so
// that a restart does not write it again; where there is no room, before anything later
// is admitted: or the repeated letter's receipt would replace that of a later version.
func (l *Lane) bury(ctx context.Context, r *event.Record, cause error) {
	l.pass(r.Offset, receipt.DeadLettered, func() {
		if l.fits(r.Offset, max(l.offered, r.Offset)) {
			l.mark(r.Offset)
		} else {
			l.cursor.SettleRange(r.Offset, r.Offset+1)
			l.buryUnrecorded(r.Offset)
		}
		l.keepBuried(ctx, r, l.p.recordID(r.Offset), cause)
	})
}

// buryUnrecorded notes that a letter is to be recorded. One stands for all with which
// it has settled in one run.
func (l *Lane) buryUnrecorded(offset int64) {
	if n := len(l.unrecorded); n == 0 || l.cursor.NextUnsettled(l.unrecorded[n-1]) <= offset {
		l.unrecorded = append(l.unrecorded, offset)
	}
}

// fits reports whether the checkpoint has room for an offset's settling and for the
// unrecorded letters before it, which it then records.
func (l *Lane) fits(offset, offered int64) bool {
	l.unrecorded = slices.DeleteFunc(l.unrecorded, l.cursor.Recorded) // with others
	before, _ := slices.BinarySearch(l.unrecorded, offset)
	if !l.cursor.Admits(offset, offered, l.admitted+before, int(l.p.share.Load())) {
		return false
	}
	for _, letter := range l.unrecorded[:before] {
		l.cursor.RecordAt(letter)
	}
	l.unrecorded = l.unrecorded[before:]
	return true
}

// pass settles an offset that needs no push.
func (l *Lane) pass(offset int64, outcome string, settle func()) {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	if l.ended || l.cursor.Settled(offset) { // a record's letter settles it where it had not
		return
	}
	settle()
	l.offered = max(l.offered, offset)
	l.progressed()
	l.unpark()
	l.p.noteSettled()
	l.t.countSettled(outcome, 0)
	l.t.pump()
}

// mark records that an offset has settled.
func (l *Lane) mark(offset int64) {
	if err := l.cursor.Settle(offset); err != nil {
		l.t.log.Error("delivery settled twice, which is a bug: please report it", "err", err)
	}
}

// miss reports what of the offsets up to lost (exclusive), which have left the log,
// the lane was not offered and lacks.
func (l *Lane) miss(lost int64) {
	if lost <= l.next {
		return
	}
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	l.p.engine.reportLost(&l.p.Assignment, l.t.name, l.cursor, l.next, lost)
}

// passRange settles the offsets from (inclusive) to (exclusive) for which nothing
// is pushed. Some may be settled already: a feed that starts again repeats itself.
func (l *Lane) passRange(from, to int64) {
	if from >= to {
		return
	}
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	if !l.ended {
		l.offered = max(l.offered, to-1)
		l.cursor.SettleRange(from, to)
		l.progressed()
		l.unpark()
		l.t.pump()
	}
}
