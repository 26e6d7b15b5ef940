package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// isolation measures two targets beside a third that is up, and beside a third that is
// down all the time, in turn: whatever else the machine does meanwhile hits both.
func (b *bench) isolation(ctx context.Context) error {
	const ms = time.Millisecond
	backlog := events{count: b.sized(200_000), keys: b.sized(200_000) / 10, neighbours: 20, partitions: 8}
	var all []figures
	var t strings.Builder
	t.WriteString("| work | third target | runs of each | deliveries/s of two, third up | third down | ratio | p99 ms, third up | third down | ratio | spread of the runs |\n" +
		"|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, c := range []struct {
		load
		down  string
		turns int
	}{
		{load{name: "backlog, 10 ms, 32 in flight", events: backlog, latency: 10 * ms, concurrency: 32}, "refuses", 2},
		{load{name: "backlog, 10 ms, 32 in flight", events: backlog, latency: 10 * ms, concurrency: 32}, "503", 1},
		{load{name: "backlog, 10 ms, 32 in flight", events: backlog, latency: 10 * ms, concurrency: 32}, "hangs", 1},
		{load{name: "backlog, 0 ms, 200 in flight", events: backlog, concurrency: 200}, "refuses", 1},
		{load{name: "1,000 events/s, 5 ms, 32 in flight", events: flowing, latency: 5 * ms, concurrency: 32, rate: 1000}, "refuses", 2},
		{load{name: "1,000 events/s, 5 ms, 32 in flight", events: flowing, latency: 5 * ms, concurrency: 32, rate: 1000}, "503", 1},
		{load{name: "1,000 events/s, 5 ms, 32 in flight", events: flowing, latency: 5 * ms, concurrency: 32, rate: 1000}, "hangs", 1},
	} {
		c.targets = 2
		var up, down []figures
		for range c.turns { // up, down, down, up: a drift hits both alike
			for _, state := range []string{"up", c.down, c.down, "up"} {
				l := c.load
				l.down, l.name = state, l.name+", third "+state
				f, err := b.measure(ctx, l, "policysync")
				if err != nil {
					return fmt.Errorf("%s: %w", l.name, err)
				}
				all = append(all, f)
				if state == "up" {
					up = append(up, f)
				} else {
					down = append(down, f)
				}
			}
		}
		rate := func(f figures) float64 { return f.PerSecond }
		p99 := func(f figures) float64 { return f.Latency[1].Seconds() * 1000 }
		fmt.Fprintf(&t, "| %s | %s | %d | %s | ", c.name, c.down, len(up), versus(up, down, rate, "%.0f"))
		if c.rate > 0 {
			fmt.Fprintf(&t, "%s | %.0f %% |\n", versus(up, down, p99, "%.1f"), 100*spread(up, p99))
		} else {
			fmt.Fprintf(&t, "– | – | – | %.0f %% |\n", 100*spread(up, rate))
		}
	}
	note := fmt.Sprintf("Runs of %s each, in the order up, down, down, up; their median. *Spread* is that of the runs with the third target up among "+
		"themselves, (most − least) / median: a ratio can be told from 1 no better than that.\n\n%s", b.length(), t.String())
	return b.report("isolation", note, all)
}

// versus are the medians of two sets of runs, and their ratio.
func versus(up, down []figures, of func(figures) float64, format string) string {
	a, b := median(up, of), median(down, of)
	return fmt.Sprintf(format+" | "+format+" | %.2f", a, b, b/a)
}

func median(fs []figures, of func(figures) float64) float64 {
	v := values(fs, of)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func spread(fs []figures, of func(figures) float64) float64 {
	v := values(fs, of)
	return (v[len(v)-1] - v[0]) / median(fs, of)
}

func values(fs []figures, of func(figures) float64) []float64 {
	v := make([]float64, len(fs))
	for i, f := range fs {
		v[i] = of(f)
	}
	slices.SortFunc(v, cmp.Compare[float64])
	return v
}
