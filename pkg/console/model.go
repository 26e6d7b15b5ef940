package console

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// pollEvery is how often the model is read anew.
const pollEvery = 2 * time.Second

// Snapshot is the state of the group as its topics and commits tell.
type Snapshot struct {
	// Time is when it was read; zero before the first time.
	Time  time.Time `json:"time"`
	Group string    `json:"group"`
	// Problem says why nothing newer could be read.
	Problem string   `json:"problem,omitempty"`
	Targets []Target `json:"targets"`
	// UndecodableLetters are dead letters of no target.
	UndecodableLetters int              `json:"undecodable_letters"`
	LettersUnknown     string           `json:"letters_unknown,omitempty"`
	Members            []receipt.Member `json:"members"`
	MembersUnknown     string           `json:"members_unknown,omitempty"`
	Lanes              []Lane           `json:"lanes"`
	// Problems are commits that can't be used and logs that were cut.
	Problems []string `json:"problems,omitempty"`
}

// Target is one external system, over all partitions and members.
type Target struct {
	Target     string `json:"target"`
	Connector  string `json:"connector,omitempty"`
	Configured bool   `json:"configured"`
	// State is the most serious that any member tells: "paused", "held", "open",
	// "half-open", "closed", or "unknown" without a member.
	State string `json:"state"`
	// Failure is why, while the breaker is not closed or the target is held.
	Failure       string  `json:"failure,omitempty"`
	Lag           int64   `json:"lag"`
	OldestSeconds float64 `json:"oldest_waiting_seconds"`
	InFlight      int     `json:"in_flight"`
	Letters       int     `json:"letters"`
	// PerSecond is how many deliveries settle, P50 and P99 how many seconds they take
	// from the event's timestamp on; -1 if none did lately.
	PerSecond float64          `json:"per_second"`
	P50       float64          `json:"p50_seconds"`
	P99       float64          `json:"p99_seconds"`
	Settled   map[string]int64 `json:"settled"`
	// Breakers are those of the members.
	Breakers []Breaker `json:"breakers"`
}

// Breaker is that of a target in one member.
type Breaker struct {
	Member string `json:"member"`
	State  string `json:"state"`
}

// Lane is one target on one partition, with the member that has it.
type Lane struct {
	app.LaneStatus
	Target string `json:"target"`
	Member string `json:"member,omitempty"`
}

// model is what the console knows: the last snapshot and a history. It reads by itself,
// whether anybody looks or not, so that the history has no gap.
type model struct {
	cfg   *config.Config
	adm   *kafka.Admin
	log   *slog.Logger
	tally *app.LetterTally
	now   func() time.Time
	rates rates

	mu      sync.Mutex
	last    Snapshot
	history history
	// changed is closed and made anew with each snapshot.
	changed chan struct{}
}

func newModel(cfg *config.Config, adm *kafka.Admin, log *slog.Logger) *model {
	return &model{
		cfg: cfg, adm: adm, log: log, tally: app.NewLetterTally(cfg, adm), now: time.Now, rates: rates{},
		last: Snapshot{Group: cfg.Kafka.Group, Targets: []Target{}, Members: []receipt.Member{}, Lanes: []Lane{}}, changed: make(chan struct{}),
	}
}

func (m *model) run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	failing := false
	for {
		err := m.read(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			m.log.WarnContext(ctx, "read what the console shows; trying again", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// read takes a snapshot; if it can't, the last one stays, with the problem.
func (m *model) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	status, err := app.StatusOf(ctx, m.cfg, m.adm)
	var letters map[string]int
	var unknown string
	if err == nil {
		var broken error
		if letters, broken = m.tally.Update(ctx); broken != nil {
			unknown = broken.Error()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.last.Problem = err.Error()
	} else {
		m.last = m.snapshot(status, letters)
		m.last.LettersUnknown = unknown
		m.history.add(&m.last)
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return err
}

// latest is the last snapshot, and what is closed when there is a newer one.
func (m *model) latest() (Snapshot, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, m.changed
}

// past is the history.
func (m *model) past() history {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.history.clone()
}

func (m *model) snapshot(s *app.Status, letters map[string]int) Snapshot {
	out := Snapshot{
		Time: m.now().UTC(), Group: s.Group, Members: s.Members, MembersUnknown: s.MembersUnknown, Problems: s.Problems,
		Targets: []Target{}, Lanes: []Lane{}, UndecodableLetters: letters[""],
	}
	owner := map[receipt.Partition]string{}
	for i := range s.Members {
		m.rates.see(&s.Members[i])
		for _, p := range s.Members[i].Partitions {
			owner[p] = s.Members[i].ID
		}
	}
	m.rates.keep(s.Members)
	for _, t := range s.Targets {
		target := Target{
			Target: t.Target, Configured: t.Configured, State: "unknown", Lag: t.Lag, Letters: letters[t.Target],
			Settled: map[string]int64{}, Breakers: []Breaker{},
		}
		for _, c := range m.cfg.Targets {
			if c.Name == t.Target {
				target.Connector = c.Connector
			}
		}
		for _, member := range s.Members {
			if state, ok := member.Targets[t.Target]; ok {
				target.add(member.ID, &state)
			}
		}
		target.PerSecond, target.P50, target.P99 = m.rates.of(t.Target)
		out.Targets = append(out.Targets, target)
		for _, l := range t.Lanes {
			out.Lanes = append(out.Lanes, Lane{
				LaneStatus: l, Target: t.Target, Member: owner[receipt.Partition{Topic: l.Topic, Partition: l.Partition}],
			})
		}
	}
	return out
}

// severity orders the states; the higher weighs more.
var severity = map[string]int{"unknown": 0, "closed": 1, "half-open": 2, "open": 3, "held": 4, "paused": 5}

func (t *Target) add(member string, s *receipt.State) {
	state := s.Breaker
	switch {
	case s.Paused:
		state = "paused"
	case s.Held:
		state = "held"
	}
	if severity[state] > severity[t.State] {
		t.State = state
		t.Failure = s.Failure
	}
	t.Breakers = append(t.Breakers, Breaker{member, state})
	t.OldestSeconds = max(t.OldestSeconds, s.OldestSeconds)
	t.InFlight += s.InFlight
	for outcome, n := range s.Settled {
		t.Settled[outcome] += n
	}
}
