package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// crash kills the process in the middle of a backlog, and starts another, at as many
// targets as given: how long do commits take, and how much does the other repeat?
func (b *bench) crash(ctx context.Context) error {
	backlog := events{count: b.sized(200_000), keys: b.sized(200_000) / 10, neighbours: 20, partitions: 8}
	for _, targets := range []int{1, 3} {
		l := load{name: fmt.Sprintf("killed, %d targets", targets), events: backlog, targets: targets, concurrency: 200 / targets}
		if err := b.kill(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return nil
}

func (b *bench) kill(ctx context.Context, l load) error {
	p, err := b.filled(ctx, l.events)
	if err != nil {
		return err
	}
	if err := b.reset(ctx, l); err != nil {
		return err
	}
	w := b.work(l, p.topic)
	if w.Health, err = freePort(); err != nil {
		return err
	}
	c, err := b.start(ctx, "policysync", w, 0)
	if err != nil {
		return err
	}
	if _, err := b.sink.ask(ctx, "/begun"); err != nil {
		return errors.Join(err, c.cmd.Process.Kill())
	}
	began := time.Now()
	pushed := func() (n, repeats int, err error) {
		targets, err := b.sink.ask(ctx, "/stats")
		for _, t := range targets {
			n, repeats = n+t.Count, repeats+t.Repeats
		}
		return n, repeats, err
	}
	n := 0
	for tick := time.Tick(50 * time.Millisecond); n < l.count*l.targets*2/3; <-tick {
		if n, _, err = pushed(); err != nil {
			return err
		}
	}
	rate := float64(n) / time.Since(began).Seconds()
	m, err := c.metrics(ctx)
	if err != nil {
		return err
	}
	if err := c.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = c.cmd.Wait() // it was killed
	cpu := c.used()
	if c, err = b.start(ctx, "policysync", w, 0); err != nil {
		return err
	}
	defer c.end()
	if _, err := b.sink.ask(ctx, "/wait?limit=1m"); err != nil {
		return err
	}
	_, repeats, err := pushed()
	const took = "policysync_commit_duration_seconds"
	fmt.Fprintf(os.Stderr, "%-20s %6.0f/s  CPU %3.0f s per million  %4.0f commits of %4.0f ms  %6d repeats: %4.0f ms\n", l.name, rate,
		cpu.Seconds()*1e6/float64(n), m[took+"_count"], 1000*m[took+"_sum"]/m[took+"_count"], repeats, 1000*float64(repeats)/rate)
	return err
}
