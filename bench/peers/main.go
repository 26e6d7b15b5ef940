// Command peers measures policysync beside what one would use instead, and beside a
// bare HTTP client as the ceiling: the same events from the same Kafka to the same
// server, one after the other in one run. `make bench-peers` runs it;
// docs/performance.md says what was seen.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 1 && args[0] == "sink":
		exit(serveSink())
	case len(args) == 2:
		exit(runClient(context.Background(), args[0], args[1]))
	}
	b := &bench{}
	flag.StringVar(&b.binaries.policysync, "policysync", "bin/policysync", "the binary to measure")
	flag.StringVar(&b.binaries.benthos, "benthos", "", "Benthos; empty leaves it out")
	contenders := flag.String("contenders", "bare,policysync,loop,benthos", "which, bare first")
	flag.StringVar(&b.kafka, "kafka", os.Getenv("POLICYSYNC_E2E_KAFKA"), "the broker")
	flag.StringVar(&b.registry, "registry", os.Getenv("POLICYSYNC_E2E_REGISTRY"), "the schema registry")
	flag.IntVar(&b.events, "events", 50_000, "how many events, a multiple of 200")
	flag.IntVar(&b.concurrency, "concurrency", 200, "requests in flight to a target")
	flag.DurationVar(&b.limit, "limit", 10*time.Second, "the longest that one measurement takes, from its first event")
	flag.StringVar(&b.out, "out", "bench/results", "the directory to write to")
	flag.Parse()
	b.contenders = strings.Split(*contenders, ",")
	exit(b.run(context.Background()))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type bench struct {
	binaries            struct{ policysync, benthos string }
	kafka, registry     string
	events, concurrency int
	limit               time.Duration
	out                 string
	sink, topic, dir    string
	contenders          []string
}

// work is what a contender has to do.
type work struct {
	Kafka       string   `json:"kafka"`
	Registry    string   `json:"registry"`
	Topic       string   `json:"topic"`
	Group       string   `json:"group"`
	Events      int      `json:"events"`
	Concurrency int      `json:"concurrency"`
	URLs        []string `json:"urls"` // one for each target
}

// runClient is a contender of this program, in a process of its own.
func runClient(ctx context.Context, name, file string) error {
	text, err := os.ReadFile(file) //nolint:gosec // written by this program
	if err != nil {
		return err
	}
	w := &work{}
	if err := json.Unmarshal(text, w); err != nil {
		return err
	}
	if name == "bare" {
		return runBare(ctx, w)
	}
	return runLoop(ctx, w)
}

// scenario is one piece of work for all contenders.
type scenario struct {
	name    string
	latency time.Duration
	targets []string
	down    bool // one more target is, that nobody listens at
}

// figures are what one contender did.
type figures struct {
	Scenario   string  `json:"scenario"`
	Contender  string  `json:"contender"`
	PerSecond  float64 `json:"deliveries_per_second"` // to the targets that are up
	OfBare     float64 `json:"of_bare_client"`
	OutOfOrder int     `json:"out_of_order"`
	Repeats    int     `json:"repeats"`
	Complete   bool    `json:"complete"` // all was delivered before the limit
	CPU        float64 `json:"cpu_seconds_per_million_deliveries"`
	PeakMiB    float64 `json:"peak_memory_mib"`
	Load       string  `json:"load_average_before"`
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.kafka == "" || b.registry == "" {
		return errors.New("no servers: run it by `make bench-peers`")
	}
	if b.dir, err = os.MkdirTemp("", "policysync-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.topic = fmt.Sprintf("bench-%d", time.Now().UnixNano())
	if err := publish(ctx, b.kafka, b.registry, b.topic, b.events); err != nil {
		return err
	}
	var stop func()
	if b.sink, stop, err = startSink(ctx); err != nil {
		return err
	}
	defer stop()
	var all []figures
	for _, s := range []scenario{
		{name: "0 ms", targets: []string{"a"}},
		{name: "1 ms", latency: time.Millisecond, targets: []string{"a"}},
		{name: "10 ms", latency: 10 * time.Millisecond, targets: []string{"a"}},
		{name: "50 ms", latency: 50 * time.Millisecond, targets: []string{"a"}},
		{name: "three targets, 10 ms", latency: 10 * time.Millisecond, targets: []string{"a", "b", "c"}},
		{name: "one of three is down, 10 ms", latency: 10 * time.Millisecond, targets: []string{"a", "b"}, down: true},
	} {
		var bare float64
		for i, name := range b.contenders {
			if name == "benthos" && b.binaries.benthos == "" {
				continue
			}
			if s.down && name == "bare" {
				continue
			}
			f, err := b.measure(ctx, s, name, fmt.Sprintf("%s-%s-%d", b.topic, s.latency, len(all)))
			if err != nil {
				return fmt.Errorf("%s: %s: %w", s.name, name, err)
			}
			if i == 0 && name == "bare" {
				bare = f.PerSecond
			}
			if bare > 0 {
				f.OfBare = f.PerSecond / bare
			}
			fmt.Fprintf(os.Stderr, "%-28s %-11s %7.0f/s\n", s.name, name, f.PerSecond)
			all = append(all, f)
		}
	}
	return b.report(all)
}

// measure lets one contender do the work, and says what came of it.
func (b *bench) measure(ctx context.Context, s scenario, name, group string) (figures, error) {
	f := figures{Scenario: s.name, Contender: name}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return f, err
	}
	f.Load, _, _ = strings.Cut(string(load), " ")
	w := &work{Kafka: b.kafka, Registry: b.registry, Topic: b.topic, Group: group, Events: b.events, Concurrency: b.concurrency}
	for _, t := range s.targets {
		w.URLs = append(w.URLs, b.sink+"/v1/"+t)
	}
	if s.down {
		w.URLs = append([]string{"http://127.0.0.1:1/v1/down"}, w.URLs...)
	}
	reset := url.Values{
		"latency": {s.latency.String()}, "want": {fmt.Sprint(b.events)}, "targets": {strings.Join(s.targets, ",")},
	}
	if _, err := ask(ctx, b.sink+"/reset?"+reset.Encode()); err != nil {
		return f, err
	}
	c, err := b.command(ctx, name, w)
	if err != nil {
		return f, err
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		return f, err
	}
	text, err := ask(ctx, b.sink+"/wait?limit="+b.limit.String())
	end(c, name)
	if err != nil {
		return f, err
	}
	targets := map[string]*stats{}
	if err := json.Unmarshal(text, &targets); err != nil {
		return f, err
	}
	f.Complete = true
	delivered := 0
	for _, t := range targets {
		delivered += t.Count
		f.OutOfOrder += t.OutOfOrder
		f.Repeats += t.Repeats
		f.Complete = f.Complete && t.Count == b.events
		took := t.Took
		if t.Count < b.events {
			took = b.limit
		}
		f.PerSecond += float64(t.Count) / took.Seconds()
	}
	used := c.ProcessState
	if delivered > 0 {
		f.CPU = (used.UserTime() + used.SystemTime()).Seconds() * 1e6 / float64(delivered)
	}
	if r, ok := used.SysUsage().(*syscall.Rusage); ok {
		f.PeakMiB = float64(r.Maxrss) / 1024
	}
	return f, nil
}

// end stops a contender. How it ends says nothing about its figures.
func end(c *exec.Cmd, name string) {
	signal := os.Interrupt
	if name == "bare" || name == "loop" {
		signal = os.Kill
	}
	_ = c.Process.Signal(signal)
	kill := time.AfterFunc(20*time.Second, func() { _ = c.Process.Kill() })
	defer kill.Stop()
	_ = c.Wait()
}

func (b *bench) command(ctx context.Context, name string, w *work) (*exec.Cmd, error) {
	file := filepath.Join(b.dir, name)
	switch name {
	case "policysync":
		if err := os.WriteFile(file, []byte(w.policysync()), 0o600); err != nil {
			return nil, err
		}
		//nolint:gosec // the binary to measure
		if out, err := exec.CommandContext(ctx, b.binaries.policysync, "topics", "create", "-c", file).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
		return exec.CommandContext(ctx, b.binaries.policysync, "run", "-c", file, "--log-level", "error"), nil //nolint:gosec // as above
	case "benthos":
		err := os.WriteFile(file, []byte(w.benthos()), 0o600)
		return exec.CommandContext(ctx, b.binaries.benthos, "-c", file), err //nolint:gosec // as above
	}
	text, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	err = os.WriteFile(file, text, 0o600)
	return exec.CommandContext(ctx, os.Args[0], name, file), err //nolint:gosec // this program
}

func ask(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Timeout: 10 * time.Minute}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}
