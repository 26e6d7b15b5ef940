package main

import (
	"context"
	"fmt"
	"time"
)

// growth measures policysync alone as its work grows in one direction at a time.
func (b *bench) growth(ctx context.Context) error {
	usual := load{
		events:  events{count: b.sized(100_000), keys: b.sized(100_000) / 10, neighbours: 20, partitions: 8},
		targets: 1, concurrency: 200, latency: time.Millisecond,
	}
	large := events{count: b.sized(1_000_000), keys: b.sized(1_000_000), neighbours: 20, partitions: 8}
	var loads []load
	add := func(name string, change func(*load)) {
		l := usual
		l.name = name
		change(&l)
		loads = append(loads, l)
	}
	for _, n := range []int32{1, 8, 64} {
		add(fmt.Sprintf("%d partitions", n), func(l *load) { l.partitions = n })
	}
	for _, n := range []int{1, 2, 5, 20} {
		add(fmt.Sprintf("%d targets", n), func(l *load) { l.targets = n })
	}
	for _, n := range []int{10, 1000} {
		add(fmt.Sprintf("%d keys", n), func(l *load) { l.keys, l.neighbours = n, min(n, 20) })
	}
	add(fmt.Sprintf("%d keys, cold start", large.keys), func(l *load) { l.events = large })
	for _, n := range []int{1, 2, 4} {
		add(fmt.Sprintf("%d members", n), func(l *load) { l.members = n })
	}
	add("second member joins", func(l *load) { l.events, l.members, l.joins = large, 1, true })
	var all []figures
	for _, l := range loads {
		f, err := b.measure(ctx, l, "policysync")
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		all = append(all, f)
	}
	return b.report("growth", fmt.Sprintf("Backlogs, at most %s of each; 1 ms, 200 requests in flight to a target; %d events, or %d where so many keys are said and "+
		"where a member joins.", b.length(), usual.count, large.count), all)
}
