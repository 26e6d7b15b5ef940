package simulation

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/delivery"
	"github.com/hms-sme/policysync/pkg/event"
)

// process is one life of a member: from its start until it stops or crashes.
type process struct {
	reader
	w      *world
	member int
	life   int
	engine *delivery.Engine

	now        chan struct{} // asks for a commit
	stop       chan struct{}
	committing chan struct{} // lets one commit be in flight
	running    sync.WaitGroup
	releases   sync.WaitGroup

	// World.mu guards all below.
	dead     bool // cut off: nothing of it reaches the world any more
	stopping bool
	gone     bool // it has ended, and no goroutine of it runs
	silent   time.Time
	holds    map[int]*holding
	tenures  map[int]*tenure // the last of each partition
	opened   int
	commits  int
}

// holding is a partition that the process was given.
type holding struct {
	*tenure

	// begun is closed when part and live are set.
	begun     chan struct{}
	part      *delivery.Partition
	live      *feed
	releasing bool
}

func (h *holding) hasBegun() bool {
	select {
	case <-h.begun:
		return true
	default:
		return false
	}
}

func (w *world) start(member, without int) {
	w.lives++
	p := &process{
		reader: reader{s: w.stage}, w: w, member: member, life: w.lives, now: make(chan struct{}, 1), stop: make(chan struct{}),
		committing: make(chan struct{}, 1), holds: map[int]*holding{}, tenures: map[int]*tenure{},
	}
	log := slog.New(&ear{level: slog.LevelError, heard: p.heard})
	var targets []*delivery.Target
	for i, s := range w.systems {
		if i > 0 && (without&(1<<i) != 0 || time.Since(w.began) < s.plan.added && !w.healed) {
			continue
		}
		p.config = append(p.config, i)
		targets = append(targets, delivery.NewTarget(delivery.TargetConfig{
			Name: s.plan.name, Kind: "simulated", Settings: s.plan.settings, Connector: client{s, p}.connector(),
			HoldRatio: 0.5, Letters: p, Jitter: w.jitter, Metrics: w.metrics, Logger: log,
		}))
	}
	p.engine = delivery.NewEngine(delivery.Config{
		Targets: targets, Decoder: p, Reader: p, Router: p, Letters: p, Feeds: p, Receipts: true,
		CommitEvery: 20, CommitNow: p.commitNow, Jitter: w.jitter, Tracer: w.tracer, Metrics: w.metrics, Logger: log,
	})
	p.running.Go(p.commitLoop)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members[member] = p
	w.note("member %d starts its life %d with targets %v", member, p.life, p.config)
}

// assign gives the process a partition. The seat is its own already.
func (p *process) assign(s *seat) {
	w := p.w
	w.mu.Lock()
	t := &tenure{
		seat: s, fence: s.fence, topicID: s.log.topicID, cuts: len(s.log.cuts), targets: map[string]bool{}, flying: map[flight]int64{}, newest: map[flight]int64{},
		acked: map[string][]learnt{},
	}
	for _, i := range p.config {
		t.targets[w.systems[i].plan.name] = true
	}
	added := s.offset < 0 && slices.ContainsFunc(w.seats, func(s *seat) bool { return s.offset >= 0 })
	w.check.assigned(t, added)
	given := delivery.Assignment{
		Topic: topic, TopicID: s.log.topicID, Partition: int32(s.log.id), Committed: s.offset, Metadata: s.meta,
		LogStart: s.log.start, LogEnd: s.log.end(), EndEpoch: s.log.epoch, Added: added,
	}
	h := &holding{tenure: t, begun: make(chan struct{})}
	p.tenures[s.log.id], p.holds[s.log.id] = t, h
	w.note("member %d life %d is assigned partition %d from %d, fence %d", p.member, p.life, s.log.id, s.offset, s.fence)
	w.mu.Unlock()
	part, err := p.engine.Assign(context.Background(), given, origin{p, h})
	if err != nil {
		panic(err) // origin gives none
	}
	h.part = part
	from := event.Position{Topic: topic, TopicID: t.topicID, Partition: int32(s.log.id)}
	from.Offset, from.LeaderEpoch = part.Start()
	h.live = w.read(t, from, part.Take, part.Diverge)
	close(h.begun)
}

// origin is what a Partition may ask.
type origin struct {
	p *process
	h *holding
}

// EpochEnd implements [delivery.Source].
func (o origin) EpochEnd(_ context.Context, epoch int32) (int64, error) {
	o.p.w.mu.Lock()
	defer o.p.w.mu.Unlock()
	return o.h.seat.log.epochEnd(epoch), nil
}

// OffsetAt implements [delivery.Source].
func (o origin) OffsetAt(_ context.Context, at time.Time) (int64, error) {
	o.p.w.mu.Lock()
	defer o.p.w.mu.Unlock()
	return o.h.seat.log.offsetAt(at), nil
}

// Resume implements [delivery.Source].
func (o origin) Resume() {
	<-o.h.begun
	o.h.live.Resume()
}

// Diverged implements [delivery.Source].
func (o origin) Diverged(cause error) {
	w := o.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("member %d life %d finds partition %d another: %v", o.p.member, o.p.life, o.h.seat.log.id, cause)
	if !o.h.releasing {
		o.h.releasing = true
		o.p.releases.Go(func() { o.p.restart(o.h, errors.Is(cause, errAnotherTopic)) })
	}
}

// owns reports whether a tenure of the process is the present one. World.mu is held.
func (p *process) owns(t *tenure) bool { return t.seat.owner == p && t.seat.fence == t.fence }

// release lets a partition go: in good order and with a last commit, or at once.
func (p *process) release(h *holding, orderly bool) {
	p.drain(h, orderly)
	if orderly {
		p.commit([]*holding{h})
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.letGo(h)
}

// drain ends what the process does for a partition: in good order, or at once.
func (p *process) drain(h *holding, orderly bool) {
	<-h.begun
	h.live.Close()
	if !orderly {
		h.part.Abort()
		return
	}
	p.w.mu.Lock()
	h.drained = time.Now()
	p.w.mu.Unlock()
	h.part.Drain(draining)
}

// letGo gives a partition back to the group, if it is the process's still. World.mu is held.
func (p *process) letGo(h *holding) {
	h.over = true
	delete(p.holds, h.seat.log.id)
	if p.owns(h.tenure) && !p.dead && !h.drained.IsZero() {
		h.seat.owner, h.seat.moving = nil, false
		h.seat.fence++
	}
	p.w.note("member %d life %d has released partition %d", p.member, p.life, h.seat.log.id)
}

// restart begins a partition again whose log was cut, with what has settled and is
// committed; of a topic that is another now the group knows best.
func (p *process) restart(h *holding, another bool) {
	p.drain(h, true)
	for again := !another; again; {
		p.commit([]*holding{h})
		p.w.mu.Lock()
		again = h.part.Dirty() && p.owns(h.tenure) && !p.dead && !p.stopping
		p.w.mu.Unlock()
		if again {
			<-time.After(time.Second)
		}
	}
	p.w.mu.Lock()
	goesOn := !another && p.owns(h.tenure) && !p.stopping && !h.part.Dirty()
	if h.over = true; !goesOn {
		p.letGo(h)
	}
	p.w.mu.Unlock()
	if goesOn {
		p.assign(h.seat)
	}
}

// releaseSoon begins to release a partition. World.mu is held.
func (p *process) releaseSoon(h *holding, orderly bool) {
	h.releasing = true
	p.releases.Go(func() { p.release(h, orderly) })
}

// end ends the process, and all its goroutines: in good order, or as if it were cut
// off at this instant.
func (p *process) end(orderly bool) {
	w := p.w
	w.mu.Lock()
	p.stopping, p.dead = true, !orderly
	if !orderly && p.silent.IsZero() {
		p.silent = time.Now()
	}
	w.mu.Unlock()
	close(p.stop)
	w.ends.Go(func() {
		p.running.Wait()
		for left := true; left; { // what begins again meanwhile is released then
			w.mu.Lock()
			for id := range w.logs {
				if h := p.holds[id]; h != nil && !h.releasing {
					p.releaseSoon(h, orderly)
				}
			}
			left = len(p.holds) > 0
			w.mu.Unlock()
			p.releases.Wait()
		}
		err := p.engine.Close(context.Background())
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.check.fail("close engine: %v", err)
		}
		p.gone = true
		w.note("member %d life %d is gone", p.member, p.life)
	})
}

func (p *process) commitNow() {
	select {
	case p.now <- struct{}{}:
	default:
	}
}

func (p *process) commitLoop() {
	ticker := time.NewTicker(200*time.Millisecond + time.Duration(p.life))
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
		case <-p.now:
		}
		p.w.mu.Lock()
		var dirty []*holding
		for id := range p.w.logs {
			if h := p.holds[id]; h != nil && !h.releasing && h.hasBegun() && h.part.Dirty() {
				dirty = append(dirty, h)
			}
		}
		p.w.mu.Unlock()
		p.commit(dirty)
	}
}

var errNoAnswer = errors.New("no answer")

// commit sends one commit of the cursors of some partitions, fenced by its tenures.
func (p *process) commit(hs []*holding) {
	p.committing <- struct{}{}
	defer func() { <-p.committing }()
	w := p.w
	for _, h := range hs {
		taken := time.Now()
		c, err := h.part.Checkpoint()
		w.mu.Lock()
		p.commits++
		n := p.commits
		if err != nil {
			w.check.fail("checkpoint of partition %d: %v", h.seat.log.id, err)
		}
		w.mu.Unlock()
		if p.prove(h, c.Receipts, n) != nil {
			h.part.Uncommitted()
			continue
		}
		there := w.upTo(20*time.Millisecond, forCommit, p.member, p.life, n, 0)
		back := w.upTo(20*time.Millisecond, forCommit, p.member, p.life, n, 1)
		<-time.After(there)
		w.mu.Lock()
		trouble := time.Now().Before(w.commitsBack) && w.oneIn(2, forCommit, p.member, p.life, n, 2)
		lost := trouble && w.oneIn(2, forCommit, p.member, p.life, n, 3)
		if refused := trouble && !lost; refused || p.dead || !p.silent.IsZero() || !p.owns(h.tenure) {
			err = errNoAnswer
		} else {
			w.check.committed(h.tenure, taken, c.Offset, c.Metadata)
			h.seat.offset, h.seat.meta, h.seat.cuts = c.Offset, c.Metadata, h.cuts
			if lost {
				err = errNoAnswer
			}
		}
		w.note("member %d life %d commits partition %d at %d: %v", p.member, p.life, h.seat.log.id, c.Offset, err)
		w.mu.Unlock()
		<-time.After(back)
		if err != nil {
			h.part.Uncommitted()
		}
	}
}

// heard takes what the process reports as lost, and its own mistakes.
func (p *process) heard(text string, said map[string]slog.Value) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if id, ok := said["partition"]; ok && p.tenures[int(id.Int64())].topicID != p.w.logs[id.Int64()].topicID {
		return // it tells of the topic before
	}
	if !p.dead {
		p.w.check.heard(text, said)
	}
}

// cutOff implements [life].
func (p *process) cutOff() bool { return p.dead }

// begin implements [life].
func (p *process) begin(target string, d *connector.Delivery, before map[int64]bool) attempt {
	t := p.tenures[int(d.Event.Partition)]
	p.w.check.attempt(t, target, d, before)
	if !p.owns(t) {
		p.w.check.fail("push of %d/%d to %.8s: the session had run out", d.Event.Partition, d.Event.Offset, target)
	}
	return &try{p, t, target, d}
}

// try is an attempt under a tenure.
type try struct {
	p *process
	*tenure

	target string
	d      *connector.Delivery
}

func (t *try) applied() {
	if t.p.owns(t.tenure) { // else no owner of the partition will ever know
		t.p.w.check.applied(t.tenure, t.target, t.d.Key, t.d.Event.Position)
	}
}

func (t *try) answered(err error) {
	t.p.w.check.answered(t.tenure, t.target, t.d.Key, t.d.Event.Position, err, time.Now())
}
