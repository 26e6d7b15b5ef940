//go:build e2e

package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// The members by their place, as the schedule names them. The last one only comes
// and goes. Those with an odd number are static members of the group.
const (
	slots    = 4
	resident = 3 // so many run from the start
	brokers  = 3
)

// Times of the members' config that the schedule and the checker reckon with.
const (
	sessionTimeout = 4 * time.Second
	attemptTimeout = 1500 * time.Millisecond
	maxAttempts    = 4
)

// fault is one thing that goes wrong, or that an operator does, at a time after the
// begin of the run, on one subject, for so long.
type fault struct {
	at, length time.Duration
	kind, on   string
}

func (f fault) String() string {
	return fmt.Sprintf("%6.1fs %-10s %-9s %.1fs", f.at.Seconds(), f.on, f.kind, f.length.Seconds())
}

// chance is one row of the table that schedules are drawn from.
type chance struct {
	kind        string
	on          []string
	weight      int
	least, most time.Duration
}

// The kinds of faults. Of a link, both directions are meant.
const (
	kill       = "kill"       // kill -9 of a member or a broker, back after a while
	term       = "term"       // SIGTERM, back after a while
	freeze     = "freeze"     // SIGSTOP for longer than the session timeout, then SIGCONT
	join       = "join"       // one member more, for a while
	cut        = "cut"        // a link refuses and ends connections
	slow       = "slow"       // a link adds latency
	errors500  = "500"        // a target answers 500 to a third of the requests
	unready    = "503"        // a target answers 503 to all
	throttle   = "429"        // a target answers 429 with Retry-After
	hang       = "hang"       // a target takes requests and never answers
	slam       = "slam"       // a target applies a request and closes instead of an answer
	sluggish   = "sluggish"   // a target needs 100 to 700 ms for an answer
	evolve     = "evolve"     // events of a new compatible schema from now on
	partitions = "partitions" // two partitions more
	addTarget  = "add-target" // rolling restart with two more targets: one starts now, one with the log
	rewind     = "rewind"     // Kafka's own offset reset, on the stopped group
	starve     = "starve"     // not drawn: the machine had no time for the test's own timer
)

// kinds says what may happen to what, how often relative to the rest, and how long
// it lasts.
var kinds = []chance{
	{kill, []string{"member-0", "member-1", "member-2"}, 8, 500 * time.Millisecond, 6 * time.Second},
	{term, []string{"member-0", "member-1", "member-2"}, 4, 200 * time.Millisecond, 6 * time.Second},
	{freeze, []string{"member-0", "member-1", "member-2"}, 4, sessionTimeout + time.Second, sessionTimeout + 4*time.Second},
	{join, []string{"member-3"}, 3, 5 * time.Second, 12 * time.Second},
	{kill, []string{"broker-1", "broker-2", "broker-3"}, 3, time.Second, 5 * time.Second},
	{cut, []string{"kafka-a", "kafka-b"}, 4, time.Second, sessionTimeout + 4*time.Second},
	{slow, []string{"kafka-a", "kafka-b"}, 2, 2 * time.Second, 6 * time.Second},
	{cut, []string{"steady", "rough", "picky", "newest", "database"}, 6, 500 * time.Millisecond, 4 * time.Second},
	{slow, []string{"rough", "picky", "newest", "database"}, 3, time.Second, 4 * time.Second},
	{cut, []string{"registry"}, 2, time.Second, 6 * time.Second},
	{errors500, []string{"rough", "picky", "newest"}, 3, time.Second, 4 * time.Second},
	{unready, []string{"rough", "picky", "newest"}, 4, time.Second, 6 * time.Second},
	{throttle, []string{"rough"}, 2, time.Second, 3 * time.Second},
	{hang, []string{"rough", "picky", "newest"}, 3, time.Second, 4 * time.Second},
	{slam, []string{"rough", "picky", "newest"}, 3, 500 * time.Millisecond, 2 * time.Second},
	{sluggish, []string{"steady", "rough", "picky", "newest"}, 5, time.Second, 5 * time.Second},
}

// protocol is the group protocol of a seed: half of them take KIP-848.
func protocol(seed uint64) string {
	return []string{"classic", "consumer"}[rand.New(rand.NewPCG(seed, 3)).IntN(2)]
}

// draw makes the schedule of a seed: the same one each time. A subject has one fault
// at a time, and one broker of three may be away. What an operator does happens once.
func draw(seed uint64, duration time.Duration) []fault {
	rng := rand.New(rand.NewPCG(seed, 1))
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(rng.Int64N(int64(most-least)))
	}
	operations := []fault{{kind: addTarget, on: "group", length: 8 * time.Second}}
	if rng.IntN(2) == 0 {
		operations = append(operations, fault{kind: rewind, on: "group", length: 12 * time.Second})
	}
	for i := range operations {
		share := duration / time.Duration(len(operations)+1)
		operations[i].at = between(share*time.Duration(i+1)-share/4, share*time.Duration(i+1))
	}
	faults := append(slices.Clone(operations),
		fault{at: between(duration/10, duration/2), kind: evolve, on: "stream"},
		fault{at: between(duration/3, duration*2/3), kind: partitions, on: "topic"})

	var lots []chance
	for _, k := range kinds {
		lots = append(lots, slices.Repeat([]chance{k}, k.weight)...)
	}
	busy := map[string]time.Duration{} // until when
	for at := time.Second; at < duration; at += between(200*time.Millisecond, 1800*time.Millisecond) {
		k := lots[rng.IntN(len(lots))]
		f := fault{at: at, length: between(k.least, k.most), kind: k.kind, on: k.on[rng.IntN(len(k.on))]}
		subject := f.on
		if strings.HasPrefix(subject, "broker") {
			subject = "brokers"
		}
		if busy[subject] > at || slices.ContainsFunc(operations, f.hinders) {
			continue
		}
		busy[subject] = at + f.length
		faults = append(faults, f)
	}
	slices.SortStableFunc(faults, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
	return faults
}

// hinders reports whether an operator would not begin with that in the way: a member
// that comes or goes, or a part of Kafka that is away.
func (f fault) hinders(operation fault) bool {
	return f.disturbs() && f.at <= operation.at+operation.length && f.at+f.length >= operation.at-2*time.Second
}

// disturbs reports whether a fault is one of a member or of Kafka.
func (f fault) disturbs() bool {
	subject, _, _ := strings.Cut(f.on, "-")
	return slices.Contains([]string{"member", "broker", "kafka", "group"}, subject)
}
