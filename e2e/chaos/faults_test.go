//go:build e2e

package chaos

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
)

// incident is a fault as it happened.
type incident struct {
	fault
	from, to time.Time
	process  string // the member's that is struck
}

// runner brings a schedule about, one step at a time.
type runner struct {
	*world

	incidents []*incident
	reset     time.Time // when the offsets were, zero if never
	// reviving has the next fault of a broker, and the end, wait for the broker that
	// comes back in the background.
	reviving sync.WaitGroup
	revived  error
}

// step is the begin or the end of a fault.
type step struct {
	at time.Duration
	do func()
}

// run goes through the schedule. A step that takes long, such as a rolling restart,
// stops the clock of the schedule.
func (r *runner) run(faults []fault) {
	var steps []step
	for _, f := range faults {
		in := &incident{fault: f}
		begin, end, left := r.begin, r.end, false
		if f.length == 0 || f.on == "group" {
			end = func(*incident) {}
		}
		steps = append(steps,
			step{f.at, func() {
				if left = strings.HasPrefix(f.on, "member") && !r.member(f).free(); left {
					r.t.Logf("left out, since it has not stopped yet: %s", f)
					return
				}
				in.from = time.Now()
				in.to = in.from.Add(time.Hour) // until it is over
				r.incidents = append(r.incidents, in)
				begin(in)
			}},
			step{f.at + f.length, func() {
				if left {
					return
				}
				end(in)
				in.to = time.Now()
				if f.on == "group" {
					in.to = in.from // its own stops are no excuse
				}
			}})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	at := time.Duration(0)
	for _, s := range steps {
		<-time.After(s.at - at)
		at = s.at
		s.do()
	}
	r.calm()
}

// calm waits for the broker that is on its way back, and for the members that are on
// their way out.
func (r *runner) calm() {
	r.t.Helper()
	r.reviving.Wait()
	require.NoError(r.t, r.revived)
	for _, m := range r.members {
		if m.busy != nil {
			<-m.busy
		}
	}
}

func (r *runner) member(f fault) *member {
	return r.members[f.on[len(f.on)-1]-'0']
}

func (r *runner) begin(f *incident) {
	r.t.Helper()
	r.t.Logf("%s %s", stamp(f.from), f)
	switch {
	case f.on == "stream":
		r.stream.evolve()
	case f.on == "topic":
		_, err := r.adm.CreatePartitions(r.t.Context(), 2, r.topic)
		require.NoError(r.t, err)
	case f.kind == addTarget:
		r.more = true
		r.configure()
		r.roll()
	case f.kind == rewind:
		r.rewind()
	case strings.HasPrefix(f.on, "broker"):
		r.reviving.Wait()
		require.NoError(r.t, r.revived)
		require.NoError(r.t, script("kill", f.on[len("broker-"):]))
	case strings.HasPrefix(f.on, "member"):
		r.disturb(f)
	case f.kind == cut:
		r.links.cut(f.on)
	case f.kind == slow:
		r.links.slow(f.on, f.length/10)
	default:
		r.targets[f.on].fail(f.kind)
	}
}

func (r *runner) end(f *incident) {
	r.t.Helper()
	switch {
	case f.on == "stream" || f.on == "topic":
	case strings.HasPrefix(f.on, "broker"):
		r.reviving.Go(func() { r.revived = script("start", strconv.Itoa(brokers)) })
	case strings.HasPrefix(f.on, "member"):
		r.restore(f)
	case f.kind == cut || f.kind == slow:
		r.links.mend(f.on)
	default:
		r.targets[f.on].heal()
	}
}

// disturb begins a fault of a member.
func (r *runner) disturb(f *incident) {
	m := r.member(f.fault)
	f.process = m.process()
	switch f.kind {
	case kill:
		m.kill()
	case term:
		m.signal(syscall.SIGTERM)
	case freeze:
		m.signal(syscall.SIGSTOP)
	case join:
		m.start()
	}
}

// restore ends it.
func (r *runner) restore(f *incident) {
	m := r.member(f.fault)
	switch f.kind {
	case kill:
		m.start()
	case term:
		m.afterwards(m.start)
	case freeze:
		m.signal(syscall.SIGCONT)
	case join:
		m.signal(syscall.SIGTERM)
		m.afterwards(func() {})
	}
}

// roll restarts the members one after the other.
func (r *runner) roll() {
	r.calm()
	for _, m := range r.members[:resident] {
		m.term()
		m.start()
	}
}

// rewind moves the stopped group back to the start of the log, as an operator does:
// by Kafka's own tool.
func (r *runner) rewind() {
	r.t.Helper()
	r.calm()
	for _, m := range r.members[:resident] {
		m.term()
	}
	// A static member is counted until its session ends.
	require.Eventually(r.t, func() bool {
		classic, err := r.adm.DescribeGroups(r.t.Context(), r.topic)
		newer, err2 := r.adm.DescribeConsumerGroups(r.t.Context(), r.topic) // of KIP-848
		return errors.Join(err, err2) == nil && len(classic[r.topic].Members)+len(newer[r.topic].Members) == 0
	}, 30*time.Second, 100*time.Millisecond)
	r.reset = time.Now()
	require.NoError(r.t, script("groups", "--group", r.topic, "--topic", r.topic, "--reset-offsets", "--to-earliest", "--execute"))
	for _, m := range r.members[:resident] {
		m.start()
	}
}

// heal ends what a schedule has left behind: nothing, but the end of a run must not
// depend on that.
func (r *runner) heal() {
	for name := range r.links.proxies {
		r.links.mend(name)
	}
	for _, s := range r.targets {
		s.heal()
	}
}

// feel tells when, until ctx ends, the machine had no time for a timer. Whoever waits
// for an answer then may give up though it is there.
func feel(ctx context.Context) (all []*incident) {
	const beat, late = 20 * time.Millisecond, 200 * time.Millisecond
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return all
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(last) > late {
			all = append(all, &incident{fault: fault{kind: starve, on: "machine"}, from: last, to: now})
		}
		last = now
	}
}
