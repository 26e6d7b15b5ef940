//go:build e2e

// Package chaos tries to break the promises of policysync: it runs several members
// on three brokers, breaks what can break on a schedule drawn from one seed, heals
// it, and then judges every request that the targets saw, every dead letter and
// every commit. docs/chaos.md says how to run it and what it has found.
package chaos

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	seed     = flag.Uint64("seed", 59, "draws the schedule; 0 takes a new one")
	duration = flag.Duration("duration", 45*time.Second, "how long things go wrong")
	lasting  = flag.Duration("for", 0, "run the seeds that follow, each as long, until this is over")
	planted  = flag.Bool("planted", false, "also prove that planted bugs are found")
)

// rate is the records written per second.
const rate = 60

// started is set once brokers are, which a test of patches alone does without: it would
// stop those of another run.
var started bool

func TestMain(m *testing.M) {
	code := m.Run()
	if started {
		if err := script("stop"); err != nil {
			panic(err)
		}
	}
	os.Exit(code)
}

func TestChaos(t *testing.T) {
	binary, until := build(t, "../.."), time.Now().Add(*lasting)
	if *seed == 0 {
		*seed = rand.Uint64N(1_000_000)
	}
	table := []string{"", heading}
	for s := *seed; s == *seed || time.Now().Add(*duration).Before(until); s++ {
		row := fmt.Sprintf("| %d, %s | | | | | | | it did not end |", s, *duration)
		t.Run(fmt.Sprintf("seed-%d", s), func(t *testing.T) {
			h := unleash(t, binary, s, *duration)
			findings := h.check()
			for _, f := range findings {
				t.Errorf("%s: %s", f.rule, f.text)
			}
			row = h.row(s, *duration, findings)
			t.Logf("%s\n%s", row, h.report())
		})
		table = append(table, row)
	}
	t.Log(strings.Join(table, "\n"))
}

// build builds policysync from a tree.
func build(t *testing.T, tree string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "policysync")
	c := exec.Command("go", "build", "-o", binary, "./cmd/policysync")
	c.Dir, c.Stderr = tree, os.Stderr
	require.NoError(t, c.Run())
	return binary
}

// unleash runs one schedule to its end and returns what happened.
func unleash(t *testing.T, binary string, seed uint64, duration time.Duration) *history {
	t.Helper()
	faults := draw(seed, duration)
	t.Logf("seed %d draws %d faults in %s", seed, len(faults), duration)
	r := &runner{world: newWorld(t, binary, seed)}

	watching, unwatch := context.WithCancel(t.Context())
	commits := make(chan []commit, 1)
	go func() {
		seen, err := r.watch(watching)
		if err != nil {
			t.Errorf("watch commits: %v", err)
		}
		commits <- seen
	}()
	pulse := make(chan []*incident, 1)
	go func() { pulse <- feel(watching) }()
	flowing, dry := context.WithCancel(t.Context())
	flowed := make(chan struct{})
	go func() {
		defer close(flowed)
		r.stream.flow(flowing, rate)
	}()
	for _, m := range r.members[:resident] {
		m.start()
	}
	r.run(faults)
	r.heal()
	dry()
	<-flowed
	begun := time.Now()
	stuck := r.settle(3 * time.Minute)
	t.Logf("healed; all settled after %.1fs %s", time.Since(begun).Seconds(), stuck)
	for _, m := range r.members[:resident] {
		m.term()
	}
	h := &history{
		protocol: r.protocol, topicID: r.topicID.String(), records: r.readRecords(), letters: r.readLetters(), held: r.readHeld(),
		tenures: r.readTenures(), incidents: r.incidents, reset: r.reset, stuck: stuck,
		database: r.readDatabase(), guarded: r.database(), arrivals: map[string][]arrival{},
	}
	<-time.After(200 * time.Millisecond) // one more look at the commits
	unwatch()
	h.commits = <-commits
	h.incidents = append(h.incidents, <-pulse...)
	for name, s := range r.targets {
		h.arrivals[name] = s.book()
	}
	return h
}
