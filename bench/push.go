package main

import (
	"context"
	"fmt"
	"time"
)

// turns is how often each contender of push does the same work. What else the machine
// does hits all alike, since they do it by turns.
const turns = 3

// push measures policysync's two ways of HTTP beside the bare client: a backlog, then
// events that flow at half of what each did with it.
func (b *bench) push(ctx context.Context) error {
	backlog := events{count: b.sized(100_000), keys: b.sized(100_000) / 10, neighbours: 20, partitions: 8}
	var all []figures
	most := map[string]float64{} // of each contender, at 0 ms
	for _, latency := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond} {
		for range turns {
			var bare float64
			for _, name := range []string{"bare", "policysync", lean} {
				f, err := b.measure(ctx, load{
					name: fmt.Sprint(latency.Milliseconds(), " ms"), events: backlog, concurrency: 200, targets: 1, latency: latency,
				}, name)
				if err != nil {
					return err
				}
				if name == "bare" {
					bare = f.PerSecond
				}
				f.OfBare = f.PerSecond / max(1, bare)
				if latency == 0 {
					most[name] += f.PerSecond / turns
				}
				all = append(all, f)
			}
		}
	}
	for range turns {
		for _, name := range []string{"policysync", lean} {
			f, err := b.measure(ctx, load{
				name: "half of its most", events: flowing, concurrency: 200, targets: 1, rate: most[name] / 2,
			}, name)
			if err != nil {
				return err
			}
			all = append(all, f)
		}
	}
	return b.report("push", fmt.Sprintf("%d events of about 600 bytes, %d keys, %d partitions, 200 requests in flight to a target, at most %s each.",
		backlog.count, backlog.keys, backlog.partitions, b.length()), all)
}
