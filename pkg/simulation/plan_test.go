package simulation

import (
	"fmt"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/delivery"
)

// plan is what a seed has happen: the shape of the world and the steps that disturb
// it. It is drawn before anything runs.
type plan struct {
	seed
	partitions int
	members    int
	static     bool // members come back under their own ids
	memory     int64
	targets    []targetPlan
	steps      []step
}

// targetPlan is a target with its config.
type targetPlan struct {
	name     string
	settings delivery.Settings
	kind     batching
	added    time.Duration // until then no config has it
}

// batching is what the connector of a target can do.
type batching int

const (
	single       batching = iota
	rows                  // a result for each row
	whole                 // all rows or none
	wholeOrdered          // and several of one key
	rowsOrdered           // a result for each row, and several of one key
)

func (t targetPlan) byRow() bool { return t.kind == rows || t.kind == rowsOrdered }

func (t targetPlan) latest() bool { return t.settings.Deliver == "latest" }

// ordered reports whether one call may hold several deliveries of a key.
func (t targetPlan) ordered() bool {
	return (t.kind == wholeOrdered || t.kind == rowsOrdered) && !t.latest()
}

// action is a kind of step.
type action int

const (
	publish    action = iota // n records to partition who
	mark                     // a transaction marker in partition who
	compact                  // partition who
	retain                   // partition who loses the first n percent of its log
	elect                    // partition who has a new leader
	cut                      // partition who has one that lacks up to half of the log
	recreate                 // the topic is deleted and made anew
	mood                     // target who behaves in the n-th manner, for a while
	crash                    // member who, back after a while, without the targets of mask n
	restart                  // the same, in good order
	stall                    // member who is cut off from the group for a while
	rotate                   // partitions move
	noLetters                // the topic of dead letters is away for a while
	noCommits                // every n-th commit is refused, or its answer lost
	noRegistry               // the schema registry is away for a while
	noReceipts               // the topic of receipts is away for a while
	reset                    // the group stops, and its offsets are set n percent into the log
	actions
)

func (a action) String() string {
	return [...]string{
		"publish", "mark", "compact", "retain", "elect", "cut", "recreate", "mood", "crash", "restart", "stall", "rotate",
		"no letters", "no commits", "no registry", "no receipts", "reset",
	}[a]
}

type step struct {
	after time.Duration // since the step before
	do    action
	who   int
	n     int
	lasts time.Duration
}

func (s step) String() string {
	return fmt.Sprintf("%v %d n=%d lasts=%v", s.do, s.who, s.n, s.lasts)
}

const (
	session  = 6 * time.Second // until the group gives up a silent member
	draining = 4 * time.Second
	steps    = 50
	// lastTrouble is for how long commits are in trouble once all else has healed.
	lastTrouble = 5 * time.Second
)

// planOf draws the plan of a seed.
func planOf(s seed) *plan {
	d := &source{seed: s}
	p := &plan{seed: s, partitions: 1 + d.next(3), members: 1 + d.next(3), static: d.next(3) == 0}
	targets := 1 + d.next(4)
	names := oneOf(d, 0, 0, roomFor(targets)) // long names leave as little room for runs as a config may
	for i := range targets {
		p.targets = append(p.targets, targetOf(d, fmt.Sprintf("target%d%s", i, strings.Repeat("x", names))))
	}
	full := names > 0 && s.oneIn(2, forPlan, -1)
	if full { // one lane has ever more runs, since a key of it sticks all the time
		p.partitions = 1
		t := &p.targets[0]
		t.settings.Deliver, t.settings.Window.Deliveries, t.settings.Retry.MaxAttempts = "every", 5000, 1000
		p.steps = append(p.steps, step{do: mood, n: int(sticks), lasts: time.Hour})
	}
	for range steps {
		st := step{after: d.pause(oneOf(d, 100*time.Millisecond, time.Second, 10*time.Second)), do: action(d.next(int(actions)))}
		if d.next(3) > 0 {
			st.do = oneOf(d, publish, publish, mood)
		}
		st.n = 1 + d.next(99)
		st.lasts = d.pause(oneOf(d, 500*time.Millisecond, 5*time.Second, 30*time.Second))
		switch st.do {
		case publish:
			st.who, st.n = d.next(p.partitions), 1+d.next(oneOf(d, 3, 20, 60))
		case mark, compact, retain, elect, cut:
			st.who = d.next(p.partitions)
		case mood:
			st.who, st.n = d.next(len(p.targets)), d.next(int(manners))
			if full && st.who == 0 {
				st.do, st.n = publish, 60
			}
		case crash, restart, stall:
			st.who = d.next(p.members)
			if d.next(3) > 0 {
				st.n = 0 // with all targets
			}
		case reset, recreate:
			if d.next(4) > 0 {
				st.do = rotate
			}
		default:
		}
		p.steps = append(p.steps, st)
	}
	return p
}

// roomFor is the length that the names of n targets can have, beside what tells them
// apart, until a checkpoint has no room for them.
func roomFor(n int) int {
	names := make([]string, n)
	for l := 0; ; l++ {
		for i := range names {
			names[i] = fmt.Sprintf("target%d%s", i, strings.Repeat("x", l))
		}
		if checkpoint.Check(names) != nil {
			return l - 1
		}
	}
}

func targetOf(d *source, name string) targetPlan {
	t := targetPlan{name: name, kind: batching(d.next(5)), added: oneOf(d, 0, 0, d.pause(time.Minute)), settings: delivery.Settings{
		Start:       oneOf(d, delivery.Start{}, delivery.Start{Earliest: true}, delivery.Start{At: time.Now().Add(d.pause(time.Minute))}),
		Deliver:     oneOf(d, "every", "every", "latest"),
		Concurrency: oneOf(d, 1, 3, 32),
		Timeout:     oneOf(d, time.Second, 3*time.Second),
		Window:      delivery.Window{Deliveries: oneOf(d, 1, 3, 10, 50, 5000), Bytes: 4 << 20},
		Retry: delivery.Retry{
			Initial: 50 * time.Millisecond, Max: oneOf(d, time.Second, 10*time.Second), MaxAttempts: oneOf(d, 2, 8, 1000),
		},
		Breaker: delivery.Breaker{
			FailureRatio: 0.5, MinRequests: oneOf(d, 2, 10), Window: 10 * time.Second,
			OpenFor: time.Second, OpenMax: 5 * time.Second,
		},
		Batch: delivery.Batch{Size: 1},
	}}
	if d.next(4) == 0 {
		t.settings.Window.Bytes = 1 << 10
	}
	if t.kind != single {
		t.settings.Batch = delivery.Batch{
			Size: min(t.settings.Window.Deliveries, oneOf(d, 2, 5, 20)), Linger: oneOf(d, 0, 200*time.Millisecond),
		}
	}
	if d.next(5) == 0 {
		t.settings.Rate = delivery.Rate{PerSecond: 20}
	}
	return t
}
