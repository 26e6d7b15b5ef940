//go:build e2e

package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"
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
	repeated   = "repeated"   // an arrival more than the faults explain
	unearned   = "unearned"   // a dead letter that nothing explains
	early      = "early"      // a commit of what had not settled
	backward   = "backward"   // a commit below an older one
)

// check judges a history.
func (h *history) check() (findings []finding) {
	if h.stuck != "" {
		findings = append(findings, finding{stuck, h.stuck})
	}
	for _, l := range h.lanes() {
		for _, rule := range []func() []finding{l.checkCommits, l.checkOrder, l.checkRepeats, l.checkLetters, l.checkEnd} {
			findings = append(findings, rule()...)
		}
	}
	return append(findings, h.checkDatabase()...)
}

func (l *lane) finding(rule string, offset int64, format string, args ...any) finding {
	return finding{rule, fmt.Sprintf("%s/%d/%d: ", l.target, l.partition, offset) + fmt.Sprintf(format, args...)}
}

// checkCommits: what a commit holds settled had settled when the commit was seen, and
// no commit takes back an older one.
func (l *lane) checkCommits() (findings []finding) {
	reported, highest := int64(-1), int64(0)
	for _, c := range l.commits {
		if c.offset < highest {
			findings = append(findings, l.finding(backward, c.offset, "committed after %d", highest))
		}
		highest = max(highest, c.offset)
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

// checkOrder: a version arrives only when all older ones of its key have settled, and
// one request of a key is under way at a time, unless whoever made the first is gone.
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
		if p, ok := previous[key]; ok && a.begun.Before(p.ended) && !p.gone && !l.orphaned(p) && !l.orphaned(a) {
			findings = append(findings, l.finding(together, a.offset, "arrived at %s while %d was under way; %s; %s",
				stamp(a.begun), p.offset, l.account(p.offset), l.account(a.offset)))
		}
		if p, ok := previous[key]; !ok || a.ended.After(p.ended) {
			previous[key] = a
		}
	}
	return findings
}

// checkRepeats: what has been delivered comes again only if its outcome was never
// learnt, or if its member was disturbed before it could commit. Nothing comes again
// that was committed. The requests of a member that has lost its partition without
// knowing are an account of their own: they were on their way.
func (l *lane) checkRepeats() (findings []finding) {
	for o, as := range l.delivered() {
		for i, a := range as {
			first := slices.IndexFunc(as[:i], arrival.settles)
			if first < 0 || l.orphaned(a) {
				continue
			}
			if l.committed[o].Before(a.begun) {
				findings = append(findings, l.finding(repeated, o, "committed at %s; %s", stamp(l.committed[o]), l.account(o)))
			} else if p := as[first]; !l.unlearnt(p) && !l.disturbed(p, p.begun, p.ended.Add(recovery)) {
				findings = append(findings, l.finding(repeated, o, "nobody was disturbed; %s", l.account(o)))
			}
		}
	}
	return findings
}

// unlearnt reports whether the client may not have got the answer: the link was cut
// or slow within the time that an attempt may take.
func (l *lane) unlearnt(a arrival) bool {
	return a.gone || l.struck(a.ended.Add(-attemptTimeout), a.begun.Add(attemptTimeout), func(i *incident) bool { return i.on == l.target })
}

// orphaned reports whether the member that made the request was killed, stopped or
// cut off from Kafka around that time, so that another may have its partition.
func (l *lane) orphaned(a arrival) bool {
	return l.disturbed(a, a.begun.Add(-recovery), a.ended.Add(attemptTimeout))
}

// recovery is how long the group needs to get over a disturbance: the session of a
// member ends, the others join again, and none of them can commit meanwhile.
const recovery = sessionTimeout + 3*time.Second

// disturbed reports whether the member that made the request was, within the given time.
func (l *lane) disturbed(a arrival, from, to time.Time) bool {
	slot, _, _ := strings.Cut(a.member, ".")
	return l.struck(from, to, func(i *incident) bool {
		switch i.on {
		case slot:
			return i.kind == kill || i.kind == freeze
		case side(a.member):
			return true
		}
		return strings.HasPrefix(i.on, "broker")
	})
}

// checkLetters: a record that nobody can read has a letter and no other has; a
// delivery has one if the target refused it, or failed it as often as it may.
func (l *lane) checkLetters() (findings []finding) {
	by := l.delivered()
	for _, x := range l.letters {
		kind, failed := l.records[x.offset].kind, 0
		for _, a := range by[x.offset] {
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
	newest := map[string]arrival{}
	for _, a := range l.arrivals {
		if a.applied {
			newest[l.records[a.offset].key] = a
		}
	}
	for o, t := range l.settled {
		if t.Equal(never) {
			findings = append(findings, l.finding(lost, int64(o), "%s", l.account(int64(o))))
		}
		if a, ok := newest[l.records[o].key]; ok && a.offset < int64(o) && t != always && !l.lettered(int64(o)) && !l.orphaned(a) {
			findings = append(findings, l.finding(overwrote, a.offset, "applied after %d; %s", o, l.account(a.offset)))
		}
	}
	return findings
}

func (l *lane) lettered(offset int64) bool {
	for _, x := range l.letters {
		if x.offset == offset {
			return true
		}
	}
	return false
}

// checkDatabase: the guarded target ends as if each change had arrived once.
func (h *history) checkDatabase() (findings []finding) {
	type state struct {
		version            int64
		partitions         map[int32]bool
		deleted, ambiguous bool
	}
	want := map[string]*state{}
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
		}
	}
	return findings
}
