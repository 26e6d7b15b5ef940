package simulation

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// world is everything around the processes of an engine: the stage and the group's
// coordinator. Its own goroutine, run's, carries out the plan.
type world struct {
	*stage

	ends   sync.WaitGroup // of processes
	lives  int
	rounds int // of the coordinator

	// mu guards all below.
	seats   []*seat
	members []*process // nil while one is down
	turns   int        // of the partitions among the members
	written int        // dead letters
	// Until these times all of a kind fails.
	lettersBack, receiptsBack, commitsBack time.Time
	// resetting: no member starts. Healed: each starts with all targets.
	resetting, healed bool
}

// seat is a partition as the group's coordinator sees it.
type seat struct {
	log    *partitionLog
	owner  *process
	fence  int  // another one for each tenure
	moving bool // its owner was asked to release it
	offset int64
	meta   string
	cuts   int // of the log, before the tenure that committed it
}

// forget is as if nothing had been committed.
func (s *seat) forget() { s.offset, s.meta = -1, "" }

func newWorld(p *plan, metrics *telemetry.Metrics, tracer *telemetry.Tracer) *world {
	w := &world{stage: newStage(p, metrics, tracer), members: make([]*process, p.members)}
	w.check.proof = proof{}
	for _, l := range w.logs {
		w.seats = append(w.seats, &seat{log: l, offset: -1})
	}
	return w
}

// run carries out the plan, heals the world and waits until all has come to rest.
func (w *world) run() error {
	over := false
	for m := range w.plan.members {
		w.start(m, 0)
	}
	w.in(0, w.coordinate)
	at := time.Duration(0)
	for _, s := range w.plan.steps {
		at += s.after
		w.in(at, func() { w.take(s) })
	}
	w.in(at+time.Second, func() { w.heal(func() { over = true }) })
	for !over && w.sound() {
		w.next()
	}
	for _, p := range w.members {
		if p != nil {
			p.end(true)
		}
	}
	w.ends.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if over {
		for i := range w.logs {
			w.check.finish(i)
		}
	}
	return w.check.err()
}

// take carries out one step of the plan.
func (w *world) take(s step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("-- %v", s)
	until := time.Now().Add(s.lasts)
	switch s.do {
	case publish:
		w.logs[s.who].append(s.n)
	case mark:
		w.logs[s.who].gap()
	case compact:
		w.logs[s.who].compact(w.rounds)
	case retain:
		l := w.logs[s.who]
		l.start += (l.end() - l.start) * int64(s.n) / 200
	case elect:
		w.logs[s.who].elect()
	case cut:
		l := w.logs[s.who]
		l.cut(l.end() - (l.end()-l.start)*int64(s.n)/200)
		w.check.cut(l)
		w.note("partition %d is cut at %d", s.who, l.end())
	case recreate:
		for i, l := range w.logs {
			l.recreate()
			w.check.cut(l)
			if s.n%2 == 0 { // else a member that has not heard of it may have committed since
				w.seats[i].forget()
			}
		}
	case mood:
		w.systems[s.who].manner = manner(s.n)
		w.in(s.lasts*2, func() { w.calm(s.who) })
	case crash, restart:
		if p := w.members[s.who]; p != nil && !w.resetting {
			w.down(p, s.do == restart)
			w.back(s.who, s.n, s.lasts)
		}
	case stall:
		if p := w.members[s.who]; p != nil && p.silent.IsZero() {
			p.silent = time.Now()
			w.in(s.lasts, func() { w.contact(p) })
		}
	case rotate:
		w.turns++
	case noLetters:
		w.lettersBack = until
	case noReceipts:
		w.receiptsBack = until
	case noCommits:
		w.commitsBack = until
	case noRegistry:
		w.registryBack = until
	case reset:
		w.resetAll(s.n)
	case actions:
	}
}

// contact ends a stall.
func (w *world) contact(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !p.dead {
		p.silent = time.Time{}
	}
}

// down ends a member. Mu is held.
func (w *world) down(p *process, orderly bool) {
	w.members[p.member] = nil
	w.note("member %d life %d goes down, orderly %v", p.member, p.life, orderly)
	w.mu.Unlock()
	p.end(orderly)
	w.mu.Lock()
	if !orderly && w.static { // it comes back as the one that it was
		for _, s := range w.seats {
			if s.owner == p {
				s.owner, s.moving = nil, false
				s.fence++
			}
		}
	}
}

// back starts a member after a while.
func (w *world) back(member, without int, after time.Duration) {
	w.in(after, func() {
		if w.resetting {
			w.back(member, without, time.Second)
			return
		}
		if w.healed {
			without = 0
		}
		if w.members[member] == nil {
			w.start(member, without)
		}
	})
}

// resetAll stops all members and sets the offsets of the group, as an operator
// does. Mu is held.
func (w *world) resetAll(percent int) {
	if w.resetting {
		return
	}
	w.resetting = true
	for _, p := range w.members {
		if p != nil {
			w.down(p, true)
		}
	}
	var try func()
	try = func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if slices.ContainsFunc(w.seats, func(s *seat) bool { return s.owner != nil }) {
			w.in(time.Second, try)
			return
		}
		for i, s := range w.seats {
			s.offset, s.meta, s.cuts = s.log.start+(s.log.end()-s.log.start)*int64(percent)/100, "", len(s.log.cuts)
			w.note("offset of partition %d is set to %d", i, s.offset)
			w.check.reset(i, s.offset)
		}
		w.resetting = false
		for m := range w.members {
			w.back(m, 0, 0)
		}
	}
	w.in(time.Second, try)
}

// coordinate is the group's coordinator: it gives up members that are silent, moves
// partitions, and looks at the windows by the way.
func (w *world) coordinate() {
	w.rounds++
	w.in(100*time.Millisecond+w.upTo(400*time.Millisecond, forOwner, w.rounds), w.coordinate)
	w.mu.Lock()
	var alive []*process
	for _, p := range w.members {
		if p != nil && !p.expired() {
			alive = append(alive, p)
		}
	}
	type given struct {
		p *process
		s *seat
	}
	renewed := map[*process]bool{} // by a heartbeat that the group confirmed
	for _, p := range alive {
		renewed[p] = p.silent.IsZero() && !p.lostAny()
	}
	var assign []given
	for i, s := range w.seats {
		if s.owner != nil && s.owner.expired() {
			s.owner, s.moving = nil, false
			s.fence++
		}
		if len(alive) == 0 {
			continue
		}
		want := alive[(i+w.turns)%len(alive)]
		switch {
		case s.owner == nil && want.silent.IsZero() && !want.stopping && want.holds[i] == nil && !want.lostAny():
			s.owner = want
			s.fence++
			assign = append(assign, given{want, s})
		case s.owner != nil && s.owner != want && !s.moving && s.owner.silent.IsZero() && !s.owner.stopping && !s.owner.holds[i].releasing:
			s.moving = true
			s.owner.releaseSoon(s.owner.holds[i], true)
		}
	}
	for _, p := range alive {
		for i := range w.seats {
			if h := p.holds[i]; h != nil && p.silent.IsZero() && !p.owns(h.tenure) && !h.releasing {
				p.releaseSoon(h, false) // it learns that it had lost it
			}
		}
	}
	w.mu.Unlock()
	for _, g := range assign {
		g.p.engine.Renew(time.Now().Add(session))
		g.p.assign(g.s)
	}
	for _, p := range alive {
		if renewed[p] {
			p.engine.Renew(time.Now().Add(session))
		}
		w.lookAt(p)
	}
}

// expired reports whether the group has given the process up. World.mu is held.
func (p *process) expired() bool { return !p.silent.IsZero() && time.Since(p.silent) > session }

// lostAny reports whether the process still works on a partition that it has lost.
// World.mu is held.
func (p *process) lostAny() bool {
	for _, h := range p.holds {
		if !p.owns(h.tenure) {
			return true
		}
	}
	return false
}

// lookAt checks that no window of a process is overfull.
func (w *world) lookAt(p *process) {
	for _, t := range p.engine.Snapshot().Targets {
		for _, l := range t.Lanes {
			if l.Deliveries > l.WindowDeliveries || l.Bytes > l.WindowBytes && l.Deliveries > 1 {
				w.mu.Lock()
				w.check.fail("window of %.8s holds %d deliveries, %d bytes", t.Target, l.Deliveries, l.Bytes)
				w.mu.Unlock()
			}
		}
	}
}

// heal ends all trouble, gives every member all targets, and calls rest once every
// cursor has come to the end of its log.
func (w *world) heal(rest func()) {
	w.mu.Lock()
	w.note("-- heal")
	w.healed = true
	w.lettersBack, w.receiptsBack, w.registryBack = time.Time{}, time.Time{}, time.Time{}
	w.commitsBack = time.Now().Add(lastTrouble) // when nothing settles any more that would have another commit sent
	for _, s := range w.systems {
		s.manner = well
	}
	for m, p := range w.members {
		if p != nil && !w.resetting {
			w.down(p, true)
		}
		w.back(m, 0, time.Second)
	}
	for _, l := range w.logs {
		l.append(1) // so that there is something to commit
	}
	w.mu.Unlock()
	until := time.Now().Add(time.Hour)
	var look func()
	look = func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		behind := w.behind()
		switch {
		case behind == "":
			rest()
		case time.Now().After(until):
			w.check.fail("an hour after the last trouble, %s", behind)
		default:
			w.in(time.Second, look)
		}
	}
	w.in(10*time.Second, look)
}

// behind names a cursor that has not come to the last record. Mu is held.
func (w *world) behind() string {
	for i, s := range w.seats {
		end := s.log.end()
		for end > 0 && s.log.entries[end-1] == nil {
			end--
		}
		cp, err := checkpoint.Decode(s.meta, max(0, s.offset), s.log.topicID)
		if err == nil && s.cuts < len(s.log.cuts) {
			err = errCut
		}
		if err != nil {
			if end <= s.log.start {
				continue
			}
			return fmt.Sprintf("partition %d has no commit: %v", i, err)
		}
		for _, l := range cp.Lanes {
			if l.Cursor.Next() < end {
				return fmt.Sprintf("%.8s has come to %d/%d of %d", l.Name, i, l.Cursor.Next(), end)
			}
		}
		if len(cp.Lanes) < len(w.systems) {
			return fmt.Sprintf("partition %d has %d lanes of %d", i, len(cp.Lanes), len(w.systems))
		}
	}
	return ""
}
