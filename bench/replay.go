package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// replay measures two targets while a third is replayed, and while it is not, in turn:
// once at full speed, and once with `catch_up.max_bytes_per_second` as the throttle.
func (b *bench) replay(ctx context.Context) error {
	const perSecond, turns = 500, 2
	history := b.sized(100_000)
	var all []figures
	var t strings.Builder
	fmt.Fprintf(&t, "%d events/s for two targets, while all %d events so far are sent once more to a third (`replay --every`), which answers within 5 ms. "+
		"Windows of %s in the order without, with, with, without; their median. *Spread* is that of the windows without a replay among themselves, "+
		"(most − least) / median.\n\n", perSecond, history, b.length())
	t.WriteString("| replay | windows of each | replayed/s | p50 ms, without | with | p99 ms, without | with | ratio | spread |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, speed := range []struct{ name, extra string }{
		{"at full speed", ""},
		{"`catch_up.max_bytes_per_second: 512KiB`", "    catch_up: {max_bytes_per_second: 524288}\n"},
	} {
		r := &replayed{bench: b}
		with, without, err := r.run(ctx, speed.extra, history, perSecond, turns)
		if err != nil {
			return fmt.Errorf("%s: %w", speed.name, err)
		}
		all = append(append(all, without...), with...)
		latency := func(i int) func(figures) float64 { return func(f figures) float64 { return millis(f.Latency[i]) } }
		fmt.Fprintf(&t, "| %s | %d | %.0f | %.1f | %.1f | %s | %.0f %% |\n", speed.name, len(with), median(with, func(f figures) float64 { return f.PerSecond }),
			median(without, latency(0)), median(with, latency(0)), versus(without, with, latency(1), "%.1f"), 100*spread(without, latency(1)))
	}
	raw, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	return b.write("replay", t.String(), string(raw)+"\n", "")
}

// replayed is a member whose target is replayed at times.
type replayed struct {
	*bench
	file string
}

func (r *replayed) run(ctx context.Context, extra string, history, perSecond, turns int) (with, without []figures, err error) {
	l := load{
		events: events{count: 1 << 40, keys: 5000, neighbours: 5000, partitions: 8}, latency: 5 * time.Millisecond, targets: 2, down: "up", concurrency: 32,
	}
	p, err := newPublisher(ctx, r.kafka, r.registry, l.events)
	if err != nil {
		return nil, nil, err
	}
	for n := range history {
		if err := p.write(ctx, n); err != nil {
			return nil, nil, err
		}
	}
	if err := p.flush(ctx); err != nil {
		return nil, nil, err
	}
	w := r.work(l, p.topic)
	w.Extra = extra
	if err := r.reset(ctx, l); err != nil {
		return nil, nil, err
	}
	member, err := r.start(ctx, "policysync", w, 0)
	if err != nil {
		return nil, nil, err
	}
	defer member.end()
	r.file = filepath.Join(r.dir, "policysync"+w.Group)
	err = r.until(ctx, func(targets map[string]*stats) bool {
		return min(targets["t0"].Count, targets["t1"].Count, targets[downTarget].Count) >= history
	})
	if err != nil {
		return nil, nil, err
	}
	flow, stop := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		_, err := p.flow(flow, history, float64(perSecond))
		failed <- err
	}()
	<-time.After(warmUp)
	for range turns {
		for _, replay := range []bool{false, true, true, false} {
			f, err := r.window(ctx, replay)
			if err != nil {
				stop()
				return nil, nil, err
			}
			if replay {
				with = append(with, f)
			} else {
				without = append(without, f)
			}
		}
	}
	stop()
	return with, without, <-failed
}

var commanded = regexp.MustCompile("replay ([a-z0-9]+) is commanded")

// window measures for a while; its deliveries per second are those of the replay, which
// is cancelled in the end.
func (r *replayed) window(ctx context.Context, replay bool) (figures, error) {
	f := figures{Load: "without a replay", Contender: "policysync", Complete: true}
	before, err := r.sink.ask(ctx, "/stats")
	if err != nil {
		return f, err
	}
	again := func(targets map[string]*stats) int {
		return targets[downTarget].Repeats + targets[downTarget].OutOfOrder
	}
	id := ""
	if replay {
		f.Load = "with a replay"
		out, err := r.command(ctx, "replay", "--target", "target0", "--from", "earliest", "--every", "--allow-old-versions", "--no-wait")
		if err != nil {
			return f, err
		}
		id = commanded.FindStringSubmatch(out)[1]
		err = r.until(ctx, func(targets map[string]*stats) bool { return again(targets) > again(before) })
		if err != nil {
			return f, err
		}
	}
	if _, err = r.sink.ask(ctx, "/mark"); err != nil {
		return f, err
	}
	if before, err = r.sink.ask(ctx, "/stats"); err != nil {
		return f, err
	}
	<-time.After(r.length())
	targets, err := r.sink.ask(ctx, "/stats")
	if err != nil {
		return f, err
	}
	f.sum(targets, 0, 0, r.length())
	f.Complete, f.CPU, f.Read, f.Pause = true, 0, 0, 0
	f.PerSecond = float64(again(targets)-again(before)) / r.length().Seconds()
	fmt.Fprintln(os.Stderr, f)
	if replay {
		_, err = r.command(ctx, "commands", "cancel", id)
	}
	return f, err
}

// command runs one of the commands of policysync, and returns what it said.
func (r *replayed) command(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, r.policysync, append(args, "-c", r.file)...).CombinedOutput() //nolint:gosec // the program to measure
	if err != nil {
		return "", fmt.Errorf("%v: %w: %s", args, err, out)
	}
	return string(out), nil
}
