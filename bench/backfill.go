package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// backfill adds a target with `start: earliest` to a running group of three, and
// measures the other two's latency before, while the members are restarted for nothing,
// while they are restarted with the new target, and while that one is back-filled.
func (b *bench) backfill(ctx context.Context) error {
	const perSecond = 500
	history := b.sized(100_000)
	l := load{
		name: "two targets, three members", events: events{count: 1 << 40, keys: 5000, neighbours: 5000, partitions: 6},
		latency: 5 * time.Millisecond, targets: 2, concurrency: 32,
	}
	p, err := newPublisher(ctx, b.kafka, b.registry, l.events)
	if err != nil {
		return err
	}
	for n := range history {
		if err := p.write(ctx, n); err != nil {
			return err
		}
	}
	if err := p.flush(ctx); err != nil {
		return err
	}
	w := b.work(l, p.topic)
	l.down = "up" // the new one is no part of the figures
	if err := b.reset(ctx, l); err != nil {
		return err
	}
	members := make([]*contender, 3)
	defer func() {
		for _, c := range members {
			if c != nil {
				c.end()
			}
		}
	}()
	roll := func() (err error) {
		for i, c := range members {
			if c != nil {
				c.end()
			}
			if w.Health, err = freePort(); err != nil {
				return err
			}
			if members[i], err = b.start(ctx, "policysync", w, i); err != nil {
				return err
			}
			if err := members[i].ready(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	if err := roll(); err != nil {
		return err
	}
	if err := b.until(ctx, func(targets map[string]*stats) bool { return targets["t0"].Count+targets["t1"].Count >= 2*history }); err != nil {
		return err
	}

	flow, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 1)
	go func() {
		_, err := p.flow(flow, history, perSecond)
		failed <- err
	}()
	pass := func() error { <-time.After(b.length()); return nil }
	var all []figures
	var t strings.Builder
	fmt.Fprintf(&t, "%d events/s for two targets of three members, 6 partitions, while a third target with %d events to be back-filled is added. "+
		"Latencies are of the worse of the two.\n\n", perSecond, history)
	t.WriteString("| while | for | p50 / p99 / p99.9 ms | longest pause | back-filled by then | out of order | repeats |\n|---|--:|--:|--:|--:|--:|--:|\n")
	for _, phase := range []struct {
		name string
		do   func() error
	}{
		{"nothing happens", pass},
		{"members restart, nothing is new", roll},
		{"nothing happens again", pass},
		{"members restart with the new target", func() error {
			w.Down = b.sink.url + "/v1/" + downTarget
			w.URLs, w.Extra = append(w.URLs, w.Down), "    start: earliest\n"
			return roll()
		}},
		{"the new target is back-filled", func() error {
			return b.until(ctx, func(targets map[string]*stats) bool { return targets[downTarget].Count >= history })
		}},
		{"it is as far as the others", pass},
	} {
		if _, err := b.sink.ask(ctx, "/mark"); err != nil {
			return err
		}
		began := time.Now()
		if err := phase.do(); err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
		targets, err := b.sink.ask(ctx, "/stats")
		if err != nil {
			return err
		}
		f := figures{Load: phase.name, Contender: "policysync"}
		f.sum(targets, 0, 0, 0)
		f.PerSecond, f.CPU, f.Read = 0, 0, 0 // the counts are of all phases so far
		all = append(all, f)
		fmt.Fprintf(&t, "| %s | %.0f s | %.1f / %.1f / %.1f | %.0f ms | %d | %d | %d |\n", phase.name, time.Since(began).Seconds(), millis(f.Latency[0]),
			millis(f.Latency[1]), millis(f.Latency[2]), millis(f.Pause), targets[downTarget].Count, f.OutOfOrder, f.Repeats)
	}
	stop()
	if err := <-failed; err != nil {
		return err
	}
	raw, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	return b.write("backfill", t.String(), string(raw)+"\n", "")
}

// until waits until the sink's stats are as wanted.
func (b *bench) until(ctx context.Context, done func(map[string]*stats) bool) error {
	for tick := time.Tick(200 * time.Millisecond); ; <-tick {
		targets, err := b.sink.ask(ctx, "/stats")
		if err != nil || done(targets) {
			return err
		}
	}
}

// ready waits until a member says that it is.
func (c *contender) ready(ctx context.Context) error {
	client := &http.Client{Timeout: 10 * time.Second}
	limit := time.After(time.Minute)
	for tick := time.Tick(20 * time.Millisecond); ; <-tick {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.health+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			if err := resp.Body.Close(); err == nil && resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-limit:
			return errors.New("the member is not ready after a minute")
		default:
		}
	}
}
