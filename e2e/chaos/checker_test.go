//go:build e2e

package chaos

import (
	"fmt"
	"slices"

	"github.com/hms-sme/policysync/pkg/checkpoint"
)

// finding is one promise broken.
type finding struct{ rule, text string }

// The rules.
const (
	stuck      = "stuck"      // what is healed does not go on
	lost       = "lost"       // neither delivered nor filtered nor in a dead letter
	overwrote  = "overwrote"  // an older version was applied after the newest
	misordered = "misordered" // a version arrived before an older one had settled
	together   = "together"   // two requests of a key at a time
	repeated   = "repeated"   // an arrival more than promise 4 allows
	unfenced   = "unfenced"   // an arrival from a member after another had its partition
	altered    = "altered"    // an arrival that is not the event that its idempotency key names
	unproven   = "unproven"   // a receipt that names what the target does not have
	unearned   = "unearned"   // a dead letter that nothing explains
	early      = "early"      // a commit of what had not settled
	backward   = "backward"   // a commit that takes back what an older one held settled
)

// check judges a history.
func (h *history) check() (findings []finding) {
	if h.stuck != "" {
		findings = append(findings, finding{stuck, h.stuck})
	}
	for _, l := range h.lanes() {
		for _, rule := range []func() []finding{
			l.checkCommits, l.checkTaken, l.checkOrder, l.checkContent, l.checkRepeats, l.checkFence, l.checkLetters, l.checkReceipts, l.checkEnd,
		} {
			findings = append(findings, rule()...)
		}
	}
	return append(findings, h.checkDatabase()...)
}

func (l *lane) finding(rule string, offset int64, format string, args ...any) finding {
	return finding{rule, fmt.Sprintf("%s/%d/%d: ", l.target, l.partition, offset) + fmt.Sprintf(format, args...)}
}

// checkCommits: what a commit holds settled had settled when the commit was seen.
func (l *lane) checkCommits() (findings []finding) {
	reported := int64(-1)
	for _, c := range l.commits {
		for _, r := range c.holds(l.target) {
			for o := max(r.From, 0); o < r.To; o++ {
				if o > reported && (o >= int64(len(l.records)) || l.settled[o].After(c.seen)) {
					findings = append(findings, l.finding(early, o, "committed at %s as settled: next %d; %s",
						stamp(c.seen), c.next(l.target), l.account(o)))
					reported = o
				}
			}
		}
	}
	return findings
}

// checkTaken: no commit takes back what an older one held settled for a target.
func (l *lane) checkTaken() (findings []finding) {
	var before []checkpoint.Run
	for _, c := range l.commits {
		now := c.holds(l.target)
		for _, r := range before {
			if !slices.ContainsFunc(now, func(n checkpoint.Run) bool { return n.From <= r.From && n.To >= r.To }) {
				findings = append(findings, l.finding(backward, r.From, "up to %d was committed as settled; not so at %s: next %d, runs %v",
					r.To, stamp(c.seen), c.next(l.target), now))
			}
		}
		before = slices.DeleteFunc(now, func(r checkpoint.Run) bool { return r.From == r.To })
	}
	return findings
}

// checkOrder: a version arrives only when all older ones of its key have settled, and
// one request of a key is under way at a time, unless whoever made the first has given
// it up, is dead or stands still. A version that gave way to a newer one does not arrive
// after that one.
func (l *lane) checkOrder() (findings []finding) {
	owed := map[string][]record{} // by key, ascending, those that may not have settled yet
	for _, r := range l.records {
		owed[r.key] = append(owed[r.key], r)
	}
	previous := map[string]arrival{}
	for _, a := range l.arrivals {
		key := l.records[a.offset].key
		for len(owed[key]) > 0 && !l.settled[owed[key][0].offset].After(a.begun) {
			owed[key] = owed[key][1:]
		}
		if len(owed[key]) > 0 && owed[key][0].offset < a.offset {
			o := owed[key][0].offset
			findings = append(findings, l.finding(misordered, a.offset, "arrived at %s, before %d had settled; %s", stamp(a.begun), o, l.account(o)))
			owed[key] = owed[key][1:]
		}
		p, ok := previous[key]
		if ok && a.begun.Before(p.ended) && !l.unlearnt(p) && !l.halted(p.member, a.begun) {
			findings = append(findings, l.finding(together, a.offset, "arrived at %s while %d was under way; %s; %s",
				stamp(a.begun), p.offset, l.account(p.offset), l.account(a.offset)))
		}
		if !ok || a.ended.After(p.ended) {
			previous[key] = a
		}
		x := l.tenure(a)
		if ok && l.conflates() && a.offset < p.offset && x == l.tenure(p) {
			findings = append(findings, l.finding(misordered, a.offset, "arrived at %s, after %d from the same member; %s; %s",
				stamp(a.begun), p.offset, l.account(p.offset), l.account(a.offset)))
		}
		for n := l.newer[a.offset]; n >= 0; n = l.newer[n] {
			if l.committed[n].Before(x.from) && slices.ContainsFunc(l.by[n], func(a arrival) bool { return a.settles() && a.ended.Before(x.from) }) {
				findings = append(findings, l.finding(misordered, a.offset, "arrived though %d of its key had been delivered and committed when its member began; %s", n, l.account(a.offset)))
				break
			}
		}
	}
	return findings
}

// checkContent: whatever arrives is the event at the offset that its idempotency key
// names, each time.
func (l *lane) checkContent() (findings []finding) {
	for _, a := range l.arrivals {
		r, title := l.records[a.offset], ""
		if r.kind != tombstone {
			title = fmt.Sprintf("%s v%d", r.kind, r.version)
		}
		id := fmt.Sprintf("%s/%d/%d/%s", l.topicID, l.partition, a.offset, l.target)
		if a.id != id || a.key != r.key || a.title != title {
			findings = append(findings, l.finding(altered, a.offset, "%s sent %q of %s as %s; %s", a.member, a.title, a.key, a.id, l.account(a.offset)))
		}
	}
	return findings
}

// checkLetters: a record that nobody can read has a letter and no other has; a
// delivery has one if the target refused it, or failed it as often as it may.
func (l *lane) checkLetters() (findings []finding) {
	for _, x := range l.letters {
		kind, failed := l.records[x.offset].kind, 0
		for _, a := range l.by[x.offset] {
			if !a.settles() && a.begun.Before(x.written) {
				failed++
			}
		}
		var earned bool
		switch {
		case x.target == "":
			earned = kind == garbage || kind == unknown
		case x.class == "permanent":
			earned = kind == refused
		default:
			// A request that was cut off on its way is in no book.
			earned = failed >= maxAttempts || x.attempts >= maxAttempts && l.struck(x.first, x.last, func(i *incident) bool { return i.on == l.target })
		}
		if !earned {
			findings = append(findings, l.finding(unearned, x.offset, "%s letter after %d attempts for a %s record: %s; %s",
				x.class, x.attempts, kind, x.cause, l.account(x.offset)))
		}
	}
	return findings
}

// checkEnd: in the end everything has settled, and each key is at the newest version
// that arrived.
func (l *lane) checkEnd() (findings []finding) {
	if !l.last {
		return nil // the commits have been checked, and the rest came again
	}
	newest := l.newest()
	for o, t := range l.settled {
		if t.Equal(never) {
			findings = append(findings, l.finding(lost, int64(o), "%s", l.account(int64(o))))
		}
		if l.conflates() && l.newer[o] >= 0 {
			continue
		}
		if a, ok := newest[l.records[o].key]; ok && a.offset < int64(o) && t != always && !l.lettered(int64(o)) &&
			!l.unlearnt(a) && !l.halted(a.member, a.ended) {
			findings = append(findings, l.finding(overwrote, a.offset, "applied after %d; %s", o, l.account(a.offset)))
		}
	}
	return findings
}

// newest is what the target has of each key: what was applied last.
func (l *lane) newest() map[string]arrival {
	newest := map[string]arrival{}
	for _, a := range l.arrivals {
		key := l.records[a.offset].key
		if p, ok := newest[key]; a.applied && (!ok || a.ended.After(p.ended)) {
			newest[key] = a
		}
	}
	return newest
}

func (l *lane) lettered(offset int64) bool {
	for _, x := range l.letters {
		if x.offset == offset {
			return true
		}
	}
	return false
}

// checkDatabase: the guarded target ends as if each change had arrived once, and its
// receipts name what it has.
func (h *history) checkDatabase() (findings []finding) {
	type state struct {
		version            int64
		partitions         map[int32]bool
		deleted, ambiguous bool
	}
	want, receipts := map[string]*state{}, h.holding(h.guarded)
	given := map[position]bool{}
	for _, x := range h.letters {
		if x.target == h.guarded || x.target == "" {
			given[x.position] = true
		}
	}
	for p, records := range h.records {
		for _, r := range records {
			s := want[r.key]
			if s == nil {
				s = &state{partitions: map[int32]bool{}}
				want[r.key] = s
			}
			s.partitions[p] = true
			s.ambiguous = s.ambiguous || r.kind == tombstone // across partitions, see below
			if !given[r.position] && r.version > s.version {
				s.version, s.deleted = r.version, r.kind == tombstone
			}
		}
	}
	for key, s := range want {
		got, held := h.database[key]
		switch {
		case s.version == 0, s.ambiguous && len(s.partitions) > 1: // offsets of two partitions do not compare
		case s.deleted && held:
			findings = append(findings, finding{overwrote, fmt.Sprintf("database: %s is at %d but was deleted by %d", key, got, s.version)})
		case !s.deleted && got != s.version:
			findings = append(findings, finding{lost, fmt.Sprintf("database: %s is at %d, not at %d", key, got, s.version)})
		case receipts[key] == nil || receipts[key].Deleted != s.deleted || !s.deleted && receipts[key].Version != got:
			findings = append(findings, finding{unproven, fmt.Sprintf("database: %s is at %d, deleted %t; the receipt is %+v", key, got, s.deleted, receipts[key])})
		}
	}
	return findings
}
