//go:build e2e

// Package k8s proves the chart on a real API server, kubelet and Kafka: under load, a
// release is installed, upgraded, scaled, rolled back and taken off, its node is
// emptied, and two targets count what reaches them. deploy/helm/live.sh starts all of
// it and runs this test inside.
package k8s

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/schemas"
)

const (
	topic      = "policy-events"
	partitions = 8
)

type world struct {
	t           *testing.T
	broker, url string
	kafka       *kgo.Client
	adm         *kadm.Client
	schema      string
	encoder     *decode.Encoder
	stream      *stream
	sinks       map[string]*sink
	pods        pods
	owners      owners
	lines       []string // of the report
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, broker: os.Getenv("POLICYSYNC_E2E_KAFKA"), schema: schemas.PolicyEvent, sinks: map[string]*sink{}}
	if os.Getenv("POLICYSYNC_LIVE_CHART") == "" {
		t.Skip("run it by `make helm-live`")
	}
	host, _, err := net.SplitHostPort(w.broker)
	require.NoError(t, err)
	schema, err := event.ParseSchema(schemas.PolicyEvent)
	require.NoError(t, err)
	w.encoder, err = decode.NewEncoder("single-object", schema)
	require.NoError(t, err)
	w.kafka, err = kgo.NewClient(kgo.SeedBrokers(w.broker), kgo.MetadataMinAge(time.Second), kgo.MetadataMaxAge(2*time.Second))
	require.NoError(t, err)
	t.Cleanup(w.kafka.Close)
	w.adm = kadm.NewClient(w.kafka)
	_, err = w.adm.CreateTopic(t.Context(), partitions, 1, nil, topic)
	require.NoError(t, err)

	w.stream = &stream{w: w, sent: map[change]time.Time{}}
	mux := http.NewServeMux()
	for _, name := range []string{"api", "partner", "archive"} {
		w.sinks[name] = &sink{stream: w.stream, seen: map[change]bool{}, newest: map[string]int64{}, delay: 5 * time.Millisecond}
		mux.Handle("/"+name, w.sinks[name])
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	w.url = "http://" + l.Addr().String()
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })

	w.run("kubectl", "create", "namespace", namespace)
	w.run("kubectl", "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
	w.watch()
	w.owners.watch(t, w.adm)
	t.Cleanup(func() { t.Log("\n" + strings.Join(w.lines, "\n")) })
	w.lines = append(w.lines, fmt.Sprintf("%-46s %6s %7s %5s %6s %8s %6s %9s %7s %8s", "step", "took", "events", "lost", "order", "repeats", "moves", "p99 wait", "longest", "stop"))
	return w
}

// under does something while events are published, waits until both targets have all
// of them, and adds a line to the report. Nothing may be lost or come out of order,
// and a pod that stops does so in its grace period.
func (w *world) under(name string, f func()) (repeats, moves int) {
	t := w.t
	t.Helper()
	published, err := w.stream.snapshot()
	require.NoError(t, err)
	before, seen := map[string]counts{}, map[string]int{}
	for _, target := range []string{"api", "partner"} {
		c, waits := w.sinks[target].snapshot()
		before[target], seen[target] = c, len(waits)
	}
	begun := time.Now()
	w.owners.reset()
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() { w.stream.publish(ctx) })
	f()
	took := time.Since(begun)
	stop()
	load.Wait()

	now, err := w.stream.snapshot()
	require.NoError(t, err)
	require.Greater(t, now, published)
	w.settles()
	var lost, order int
	var waits []time.Duration
	for target, was := range before {
		c, all := w.sinks[target].snapshot()
		c = c.less(was)
		lost += now - published - c.arrived
		order += c.disordered
		repeats += c.repeated
		waits = append(waits, all[seen[target]:]...)
	}
	slices.Sort(waits)
	moves = w.owners.most()
	longest, err := w.pods.orderly(begun)
	w.lines = append(w.lines, fmt.Sprintf("%-46s %5.0fs %7d %5d %6d %8d %6d %8.2fs %6.2fs %7.0fs", name, took.Seconds(), now-published, lost, order, repeats, moves,
		waits[len(waits)*99/100].Seconds(), waits[len(waits)-1].Seconds(), longest.Seconds()))
	t.Log(w.lines[len(w.lines)-1])
	require.NoError(t, err)
	require.Zero(t, lost, "lost")
	require.Zero(t, order, "out of order")
	return repeats, moves
}

// settles waits until both targets have all that was published.
func (w *world) settles() {
	w.t.Helper()
	w.eventually("all has arrived", func() bool {
		published, _ := w.stream.snapshot()
		for _, target := range []string{"api", "partner"} {
			if c, _ := w.sinks[target].snapshot(); c.arrived < published {
				return false
			}
		}
		return true
	})
}

func (w *world) eventually(what string, f func() bool) {
	w.t.Helper()
	require.Eventually(w.t, f, patience, 200*time.Millisecond, what)
}

// owners follows who has which partition, by the broker's word: pods are static
// members, so their names.
type owners struct {
	mu    sync.Mutex
	of    map[int32]string
	moves map[int32]int
}

func (o *owners) watch(t *testing.T, adm *kadm.Client) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for ticker := time.NewTicker(300 * time.Millisecond); ctx.Err() == nil; <-ticker.C {
			if groups, err := adm.DescribeGroups(ctx, "policysync"); err == nil {
				o.see(groups["policysync"])
			}
		}
	})
	t.Cleanup(func() { stop(); done.Wait() })
}

func (o *owners) see(group kadm.DescribedGroup) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range group.Members {
		assigned, ok := m.Assigned.AsConsumer()
		if !ok {
			continue
		}
		name := m.MemberID
		if m.InstanceID != nil {
			name = *m.InstanceID
		}
		for _, in := range assigned.Topics {
			for _, p := range in.Partitions {
				if was := o.of[p]; was != "" && was != name {
					o.moves[p]++
				}
				o.of[p] = name
			}
		}
	}
}

func (o *owners) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of == nil {
		o.of = map[int32]string{}
	}
	o.moves = map[int32]int{}
}

// most is how often the partition moved that moved most often.
func (o *owners) most() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, moves := range o.moves {
		n = max(n, moves)
	}
	return n
}

// spread are how many pods have partitions, and how many these have.
func (o *owners) spread() (members, owned int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	names := map[string]bool{}
	for _, name := range o.of {
		names[name] = true
	}
	return len(names), len(o.of)
}
