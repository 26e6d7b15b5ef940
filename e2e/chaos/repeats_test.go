//go:build e2e

package chaos

import (
	"slices"
	"time"
)

// Why something that has been delivered comes again.
const (
	unlearnt  = "whose answer may not have arrived"
	died      = "of a member that was killed"
	lostIt    = "of a member that lost the partition"
	trespass  = "of a member whose session was over"
	uncommit  = "of a member whose last commit was refused"
	released  = "that its member had committed before it let go"
	committed = "that had been committed when its member began"
	forgotten = "that two commits left out"
	pointless = "within one tenure, though it was answered"
)

// repeat is an arrival of what had been delivered before.
type repeat struct {
	first, again arrival
	why          string
	// age is how long before its member ended the first one was answered: that long it
	// was not committed. Zero if no member ended.
	age time.Duration
}

// allowed reports whether promise 4 allows it.
func (r repeat) allowed() bool {
	return slices.Contains([]string{unlearnt, died, lostIt, uncommit}, r.why)
}

// repeats are the arrivals of what had been delivered before, or committed as settled
// without a push, each with what explains it best.
func (l *lane) repeats() (all []repeat) {
	for o, as := range l.by {
		for i, a := range as {
			x := l.tenure(a)
			if l.committed[o].Before(x.from) {
				all = append(all, repeat{again: a, why: committed})
				continue
			}
			// The tenures are judged by the last one that held it.
			for _, p := range slices.Backward(as[:i]) {
				if p.settles() {
					all = append(all, l.explain(p, a))
					break
				}
			}
		}
	}
	return all
}

// explain says why a comes though p was answered.
func (l *lane) explain(p, a arrival) repeat {
	r := repeat{first: p, again: a}
	first, again := l.tenure(p), l.tenure(a)
	switch {
	case l.unlearnt(p):
		r.why = unlearnt
	case first == again:
		r.why = pointless
	case again.generation < first.generation:
		r.why = trespass // see checkFence
	case l.leftOut(p, first):
		r.why = forgotten
	case first.to.Before(again.from) && first.orderly():
		r.why = released
	default:
		r.why, r.age = l.ending(first, p.ended, again.from)
	}
	return r
}

// ending says how a tenure ended, and how long after a time.
func (l *lane) ending(x *tenure, since, until time.Time) (why string, age time.Duration) {
	for _, i := range l.incidents {
		if i.process == x.process && i.from.After(since) && i.from.Before(until) && (i.kind == kill || i.kind == freeze) {
			return map[string]string{kill: died, freeze: lostIt}[i.kind], i.from.Sub(since)
		}
	}
	if x.to.Before(until) {
		until = x.to
	}
	if x.drained && x.refused {
		return uncommit, until.Sub(since)
	}
	return lostIt, until.Sub(since)
}

// leftOut reports whether the tenure committed twice after the answer to a without
// it. One commit may have been on its way; the next was made after that.
func (l *lane) leftOut(a arrival, x *tenure) bool {
	end := never
	if y := l.successor(x); y != nil {
		end = y.from
	}
	n := 0
	for _, c := range l.commits {
		if c.seen.After(a.ended.Add(5*onItsWay)) && c.seen.Before(end) {
			n++
		}
	}
	return n >= 2
}

// unlearnt reports whether the client may not have got the answer: it went, it had to
// wait for as long as an attempt may take, the link was cut or slow or the machine stood
// still meanwhile, or it was dead or stopped when the answer came.
func (l *lane) unlearnt(a arrival) bool {
	return a.gone || a.ended.Sub(a.begun) > attemptTimeout-5*onItsWay || l.linkTroubled(a) ||
		l.halted(a.member, a.ended.Add(onItsWay))
}

func (l *lane) linkTroubled(a arrival) bool {
	return l.struck(a.ended.Add(-attemptTimeout), a.begun.Add(attemptTimeout), func(i *incident) bool {
		return i.on == l.target && (i.kind == cut || i.kind == slow) || i.kind == starve
	})
}

// checkRepeats: what has been delivered comes again only if its outcome was never
// learnt, or if its member could not commit it any more.
func (l *lane) checkRepeats() (findings []finding) {
	for _, r := range l.repeats() {
		if !r.allowed() && r.why != trespass {
			findings = append(findings, l.finding(repeated, r.again.offset, "one %s; committed %s; %s",
				r.why, stamp(l.committed[r.again.offset]), l.account(r.again.offset)))
		}
	}
	return findings
}

// checkFence: a member sends nothing once another has its partition, whatever kept it
// from hearing of that, a stop of the whole process too. What it had sent may be slow
// to arrive.
func (l *lane) checkFence() (findings []finding) {
	for _, a := range l.arrivals {
		x := l.tenure(a)
		y := l.successor(x)
		if y == nil || !a.begun.After(y.from.Add(onItsWay)) || l.linkTroubled(a) || l.halted(a.member, a.begun) {
			continue
		}
		findings = append(findings, l.finding(unfenced, a.offset, "%s has had the partition since %s; %s", y.process, stamp(y.from), l.account(a.offset)))
	}
	return findings
}
