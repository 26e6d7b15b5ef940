package simulation

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// stage is what surrounds the processes whatever they are made of: the logs, the
// external systems, the checker that watches them, and the list of what happens next.
type stage struct {
	*plan

	metrics *telemetry.Metrics
	tracer  *telemetry.Tracer
	began   time.Time
	queue   []job

	// mu guards the stage. It is held for no longer than a moment, and never while
	// the service is called.
	mu           sync.Mutex
	check        *checker
	logs         []*partitionLog
	systems      []*system
	story        []string
	registryBack time.Time // until then it is away
}

// job is something that will be done.
type job struct {
	at time.Time
	do func()
}

func newStage(p *plan, metrics *telemetry.Metrics, tracer *telemetry.Tracer) *stage {
	s := &stage{plan: p, metrics: metrics, tracer: tracer, began: time.Now()}
	s.check = &checker{
		seed: p.seed, targets: map[string]int{}, plans: p.targets, ledgers: map[string][]*ledger{}, named: map[place]bool{},
	}
	for i := range p.partitions {
		s.logs = append(s.logs, &partitionLog{seed: p.seed, id: i, topicID: event.TopicID{7, 7}, terms: []term{{}}, gone: map[string]bool{}, news: make(chan struct{})})
	}
	s.check.logs = s.logs
	for i, t := range p.targets {
		s.systems = append(s.systems, &system{s: s, index: i, plan: t})
		s.check.targets[t.name] = i
		for range p.partitions {
			s.check.ledgers[t.name] = append(s.check.ledgers[t.name], newLedger())
		}
	}
	return s
}

// jitter draws the service's own waits.
func (s *stage) jitter(below time.Duration) time.Duration {
	return s.upTo(below, forJitter, int(time.Since(s.began)))
}

// note adds a line to the story, which is told when a promise is broken. Mu is held.
func (s *stage) note(format string, args ...any) {
	s.story = append(s.story, fmt.Sprintf("%9.4fs ", time.Since(s.began).Seconds())+fmt.Sprintf(format, args...))
}

// tale is what happened last, for whoever has to find out why.
func (s *stage) tale() string {
	return strings.Join(s.story[max(0, len(s.story)-tail):], "\n")
}

// in has something done after a while.
func (s *stage) in(d time.Duration, do func()) {
	e := job{time.Now().Add(d), do}
	i, _ := slices.BinarySearchFunc(s.queue, e, func(a, b job) int { return max(-1, min(1, int(a.at.Sub(b.at)))) })
	s.queue = slices.Insert(s.queue, i, e)
}

// next waits for what is to be done next, and does it.
func (s *stage) next() {
	e := s.queue[0]
	s.queue = s.queue[1:]
	<-time.After(time.Until(e.at))
	e.do()
}

// sound reports whether no promise was broken yet.
func (s *stage) sound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.check.broken) == 0
}

func (s *stage) calm(target int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.systems[target].manner = well
}
