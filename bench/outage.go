package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

// sample is what was seen at one moment of an outage.
type sample struct {
	Seconds  float64 `json:"seconds"`
	Resident float64 `json:"resident_mib"`
	Heap     float64 `json:"heap_mib"`   // that is in use
	Healthy  int     `json:"delivered"`  // to the two healthy targets
	Back     int     `json:"caught_up"`  // pushes to the third, since it is back
	Waiting  float64 `json:"waiting"`    // deliveries in the windows
	Held     float64 `json:"held_bytes"` // by them
}

// series is one outage from its begin to the end of the catch-up.
type series struct {
	Name    string   `json:"name"`
	Events  int      `json:"events"`
	Keys    int      `json:"keys"`
	Healed  float64  `json:"healed_at_seconds"`
	Samples []sample `json:"samples"`
	Third   *stats   `json:"third_target"`
	// Figures are text, for the table.
	Figures map[string]string `json:"figures"`
}

// outage has a target down for as long as it takes the others to get a large backlog,
// then brings it back, and watches memory and catch-up.
func (b *bench) outage(ctx context.Context) error {
	many := events{count: b.sized(2_000_000), partitions: 8}
	few := events{count: b.sized(500_000), partitions: 8}
	for _, e := range []*events{&many, &few} {
		e.keys = max(e.count/40, min(50_000, e.count/10))
		e.neighbours = e.keys // all keys in turn
	}
	var all []series
	for _, o := range []struct {
		name, extra string
		events
	}{
		{"every version", "", many},
		{"deliver: latest", "    deliver: latest\n", few},
	} {
		if !strings.Contains(o.name, b.only) {
			continue
		}
		s, err := b.endure(ctx, o.name, o.extra+"    breaker: {open_for: 1s, open_max: 5s}\n", o.events)
		if err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
		all = append(all, s)
	}
	return b.reportOutage(all)
}

func (b *bench) endure(ctx context.Context, name, extra string, e events) (s series, err error) {
	s = series{Name: name, Events: e.count, Keys: e.keys}
	p, err := b.filled(ctx, e)
	if err != nil {
		return s, err
	}
	l := load{name: name, events: e, targets: 2, down: "refuses", concurrency: 200}
	if err := b.reset(ctx, l); err != nil {
		return s, err
	}
	w := b.work(l, p.topic)
	w.Extra = extra
	if w.Health, err = freePort(); err != nil {
		return s, err
	}
	c, err := b.start(ctx, "policysync", w, 0)
	if err != nil {
		return s, err
	}
	defer c.end()
	if _, err := b.sink.ask(ctx, "/begun"); err != nil {
		return s, err
	}
	began := time.Now()
	watch := func(done func(sample, map[string]*stats) bool) error {
		for tick := time.Tick(time.Second); ; <-tick {
			targets, err := b.sink.ask(ctx, "/stats")
			if err != nil {
				return err
			}
			m, err := c.metrics(ctx)
			if err != nil {
				return err
			}
			now := sample{
				Seconds: time.Since(began).Seconds(), Resident: c.resident(), Heap: m["go_memstats_heap_inuse_bytes"] / (1 << 20),
				Healthy: targets["t0"].Count + targets["t1"].Count,
				Waiting: m["policysync_window_deliveries"], Held: m["policysync_window_size_bytes"],
			}
			if s.Third = targets[downTarget]; s.Third != nil {
				now.Back = s.Third.Count + s.Third.Repeats
			}
			s.Samples = append(s.Samples, now)
			fmt.Fprintf(os.Stderr, "%-36s %4.0f s  resident %4.0f MiB  heap %4.0f MiB  waiting %6.0f  healthy %8d  third %8d\n",
				name, now.Seconds, now.Resident, now.Heap, now.Waiting, now.Healthy, now.Back)
			if done(now, targets) {
				return nil
			}
			if time.Since(began) > time.Hour {
				return errors.New("it did not end within an hour")
			}
		}
	}
	if err := watch(func(now sample, _ map[string]*stats) bool { return now.Healthy >= 2*e.count }); err != nil {
		return s, err
	}
	s.Healed = time.Since(began).Seconds()
	targets, err := b.sink.ask(ctx, "/stats")
	if err != nil {
		return s, err
	}
	healthy := targets["t0"].Repeats + targets["t1"].Repeats + targets["t0"].OutOfOrder + targets["t1"].OutOfOrder
	if _, err := b.sink.ask(ctx, "/open"); err != nil {
		return s, err
	}
	if err := watch(func(sample, map[string]*stats) bool {
		return s.Third.Newest == e.keys && (strings.Contains(extra, "latest") || s.Third.Count == e.count)
	}); err != nil {
		return s, err
	}
	s.conclude(e, healthy)
	return s, nil
}

// conclude works out the table's figures.
func (s *series) conclude(e events, amiss int) {
	down := s.Samples
	for i, p := range s.Samples {
		if p.Seconds > s.Healed {
			down = s.Samples[:i]
			break
		}
	}
	resident := func(p sample) float64 { return p.Resident }
	heap := func(p sample) float64 { return p.Heap }
	half, last := len(down)/2, len(down)*3/4
	s.Figures = map[string]string{
		"events": fmt.Sprint(e.count), "keys": fmt.Sprint(e.keys),
		"outage":                     fmt.Sprintf("%.0f s", s.Healed),
		"healthy":                    fmt.Sprintf("%.0f/s", float64(2*e.count)/s.Healed),
		"amiss":                      fmt.Sprint(amiss),
		"resident":                   fmt.Sprintf("%.0f → %.0f", mean(down[len(down)/4:half+1], resident), mean(down[last:], resident)),
		"heap":                       fmt.Sprintf("%.0f → %.0f", mean(down[len(down)/4:half+1], heap), mean(down[last:], heap)),
		"peak":                       fmt.Sprintf("%.0f", most(s.Samples, resident)),
		"counted bytes per delivery": fmt.Sprintf("%.0f", most(down, func(p sample) float64 { return p.Held / max(1, p.Waiting) })),
		"catch-up":                   fmt.Sprintf("%.0f s", s.Samples[len(s.Samples)-1].Seconds-s.Healed),
		"pushes":                     fmt.Sprint(s.Third.Count + s.Third.Repeats),
		"keys with newest":           fmt.Sprint(s.Third.Newest),
		"out of order":               fmt.Sprint(s.Third.OutOfOrder), "repeats": fmt.Sprint(s.Third.Repeats),
	}
}

func mean(ps []sample, of func(sample) float64) float64 {
	sum := 0.0
	for _, p := range ps {
		sum += of(p)
	}
	return sum / float64(max(1, len(ps)))
}

func most(ps []sample, of func(sample) float64) float64 {
	v := math.Inf(-1)
	for _, p := range ps {
		v = max(v, of(p))
	}
	return v
}

func freePort() (string, error) {
	l, err := listen("127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (b *bench) reportOutage(all []series) error {
	columns := []string{
		"events", "keys", "outage", "healthy", "amiss", "resident", "heap", "peak", "counted bytes per delivery", "catch-up", "pushes", "keys with newest",
		"out of order", "repeats",
	}
	var t strings.Builder
	t.WriteString("Two targets are up, a third refuses connections until the two have all events. *Resident* and *heap* are MiB, the means of the " +
		"outage's second and of its last quarter; *amiss* counts repeats and broken order at the two. *Counted* is what the windows count of a waiting delivery.\n\n")
	fmt.Fprintf(&t, "| third target | %s |\n|---|%s\n", strings.Join(columns, " | "), strings.Repeat("--:|", len(columns)))
	for _, s := range all {
		fmt.Fprintf(&t, "| %s |", s.Name)
		for _, c := range columns {
			fmt.Fprintf(&t, " %s |", s.Figures[c])
		}
		t.WriteString("\n")
	}
	raw, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	return b.write("outage", t.String(), string(raw)+"\n", curves(all))
}
