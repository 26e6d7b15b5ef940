package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// contenders are all, the ceiling first.
var contenders = []string{"bare", "policysync", "loop", "benthos", "parallel-consumer"}

// cannot is what a contender does not do and policysync does.
var cannot = map[string]string{
	"bare":              "reads no Kafka, decodes nothing, keeps nothing after a crash",
	"loop":              "one request in flight per partition; no breaker, no dead letters; a target that is down stops all",
	"benthos":           "promises no order of a key; a target that is down stops all",
	"parallel-consumer": "no breaker, no dead letters; retries all targets of an event; a target that is down stops all in the end",
}

// present reports whether a contender can be run here, and says so if it can't.
func (b *bench) present(name string) bool {
	missing := ""
	switch {
	case name == "benthos" && b.benthos == "":
		missing = "it is not built"
	case name == "parallel-consumer":
		if _, err := os.Stat(filepath.Join(b.parallelConsumer, "parallelconsumer-1.jar")); err != nil {
			missing = "it is not built, for want of Java or Maven"
		}
	}
	if missing != "" {
		fmt.Fprintf(os.Stderr, "LEFT OUT: %s: %s\n", name, missing)
	}
	return missing == ""
}

// peers measures all contenders: draining a backlog, then events that flow at shares of
// what each can do.
func (b *bench) peers(ctx context.Context) error {
	backlog := events{count: b.sized(100_000), keys: b.sized(100_000) / 10, neighbours: 20, partitions: 8}
	const ms = time.Millisecond
	loads := []load{
		{name: "0 ms"},
		{name: "1 ms", latency: ms},
		{name: "10 ms", latency: 10 * ms},
		{name: "50 ms", latency: 50 * ms},
		{name: "two targets, 10 ms", latency: 10 * ms, targets: 2},
		{name: "five targets, 10 ms", latency: 10 * ms, targets: 5},
		{name: "one of three is down, 10 ms", latency: 10 * ms, targets: 2, down: "refuses"},
	}
	var all []figures
	most := map[string]float64{} // of each contender, at 0 ms
	var present []string
	for _, name := range contenders {
		if b.present(name) {
			present = append(present, name)
		}
	}
	for i, l := range loads {
		l.events, l.concurrency, l.targets = backlog, 200, max(1, l.targets)
		var bare float64
		for _, name := range present {
			if l.down != "" && name == "bare" {
				continue
			}
			f, err := b.measure(ctx, l, name)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", l.name, name, err)
			}
			if name == "bare" {
				bare = f.PerSecond
			}
			if bare > 0 {
				f.OfBare = f.PerSecond / bare
			}
			if i == 0 {
				most[name] = f.PerSecond
			}
			all = append(all, f)
		}
	}
	const same = 2000
	for _, share := range []float64{0, 0.1, 0.5, 0.8} {
		for _, name := range present[1:] {
			l := load{name: fmt.Sprintf("%.0f %% of its most", 100*share), events: flowing, concurrency: 200, targets: 1, rate: share * most[name]}
			if share == 0 {
				l.name, l.rate = fmt.Sprintf("%d events/s", same), same
			}
			f, err := b.measure(ctx, l, name)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", l.name, name, err)
			}
			all = append(all, f)
		}
	}
	return b.report("peers", fmt.Sprintf("%d events of about 600 bytes, %d keys, %d partitions, 200 requests in flight to a target, at most %s each.",
		backlog.count, backlog.keys, backlog.partitions, b.length()), all)
}

// flowing are events for as long as they are wanted.
var flowing = events{count: 1 << 40, keys: 5000, neighbours: 5000, partitions: 8}
