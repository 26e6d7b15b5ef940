package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
)

// downTarget is the one more target that a load may have. Its pushes are not in the
// figures.
const downTarget = "down"

// load is one piece of work for a contender.
type load struct {
	name string
	events
	// latency is what the server takes for an answer.
	latency time.Duration
	targets int
	// down is the state of one more target: up, refuses, 503 or hangs. Empty: there is none.
	down        string
	concurrency int
	// rate is how many events a second are written meanwhile. 0: all are there before.
	rate float64
	// members is how many processes do it; the last one joins a third of the time later
	// if joins is set.
	members int
	joins   bool
}

// figures are what came of a load.
type figures struct {
	Load       string           `json:"work"`
	Contender  string           `json:"contender"`
	PerSecond  float64          `json:"deliveries_per_second"` // to the targets that are up
	OfBare     float64          `json:"of_bare_client"`
	Latency    [3]time.Duration `json:"latency_p50_p99_p999_ns"` // from an event's making; only with a rate
	OutOfOrder int              `json:"out_of_order"`
	Repeats    int              `json:"repeats"`
	Complete   bool             `json:"complete"` // all was delivered in time
	CPU        float64          `json:"cpu_seconds_per_million_deliveries"`
	PeakMiB    float64          `json:"peak_memory_mib"` // of the largest process
	// Read is what the processes read from sockets and files: mostly Kafka's records, and
	// the answers.
	Read  float64       `json:"bytes_read_per_delivery"`
	Start time.Duration `json:"start_to_first_delivery_ns"`
	Pause time.Duration `json:"longest_pause_ns"`
	Busy  string        `json:"load_average_before"`
}

// work is a load as contenders are told of it, in a group of their own.
func (b *bench) work(l load, topic string) *work {
	b.runs++
	w := &work{
		Kafka: b.kafka, Registry: b.registry, Topic: topic, Group: fmt.Sprintf("%s-%d", topic, b.runs),
		Events: l.count, Keys: l.keys, Concurrency: l.concurrency, Health: "127.0.0.1:0",
	}
	switch l.down {
	case "":
	case "refuses":
		w.Down = b.sink.spare + "/v1/" + downTarget
	default:
		w.Down = b.sink.url + "/v1/" + downTarget
	}
	if w.Down != "" {
		w.URLs = append(w.URLs, w.Down)
	}
	for i := range l.targets {
		w.URLs = append(w.URLs, fmt.Sprintf("%s/v1/t%d", b.sink.url, i))
	}
	return w
}

// reset prepares the sink for a load.
func (b *bench) reset(ctx context.Context, l load) error {
	var targets []string
	for i := range l.targets {
		targets = append(targets, fmt.Sprintf("t%d", i))
	}
	q := url.Values{"latency": {l.latency.String()}, "want": {fmt.Sprint(l.count)}, "newest": {fmt.Sprint(l.versions())}}
	switch l.down {
	case "up":
		targets = append(targets, downTarget)
	case "503", "hangs":
		q.Set("fault", l.down)
	}
	q.Set("targets", strings.Join(targets, ","))
	_, err := b.sink.ask(ctx, "/reset?"+q.Encode())
	return err
}

// publisher returns a new topic for events that flow, of which the first is there.
func (b *bench) publisher(ctx context.Context, e events) (*publisher, error) {
	p, err := newPublisher(ctx, b.kafka, b.registry, e)
	if err != nil {
		return nil, err
	}
	return p, errors.Join(p.write(ctx, 0), p.flush(ctx))
}

// filled returns the topic with all events of a load.
func (b *bench) filled(ctx context.Context, e events) (*publisher, error) {
	if p := b.topics[e]; p != nil {
		return p, nil
	}
	p, err := newPublisher(ctx, b.kafka, b.registry, e)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := p.all(ctx); err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "%d events of %d keys written in %.0f s\n", e.count, e.keys, time.Since(began).Seconds())
	b.topics[e] = p
	return p, nil
}

// measure lets one contender do the work, and says what came of it.
func (b *bench) measure(ctx context.Context, l load, name string) (f figures, err error) {
	f = figures{Load: l.name, Contender: name}
	topic := b.filled
	if l.rate > 0 {
		topic = b.publisher
	}
	p, err := topic(ctx, l.events)
	if err != nil {
		return f, err
	}
	if err := b.reset(ctx, l); err != nil {
		return f, err
	}
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return f, err
	}
	f.Busy, _, _ = strings.Cut(string(text), " ")
	w := b.work(l, p.topic)
	var members []*contender
	join := func() error {
		c, err := b.start(ctx, name, w, len(members))
		if err == nil {
			members = append(members, c)
		}
		return err
	}
	for range max(1, l.members) {
		err = errors.Join(err, join())
	}
	written := l.count
	if err == nil {
		_, err = b.sink.ask(ctx, "/begun")
		f.Start = time.Since(members[0].began)
	}
	var targets map[string]*stats
	if err == nil && l.joins {
		if _, err = b.sink.ask(ctx, "/wait?limit="+(b.length()/3).String()); err == nil {
			err = join()
		}
	}
	if err == nil && l.rate > 0 {
		targets, written, err = b.flowing(ctx, l, p)
	} else if err == nil {
		targets, err = b.sink.ask(ctx, "/wait?limit="+b.length().String())
	}
	var cpu time.Duration
	for _, c := range members {
		f.Read, f.PeakMiB = f.Read+c.read(), max(f.PeakMiB, c.peak())
		c.end()
		cpu += c.used()
	}
	f.sum(targets, written, cpu, b.length())
	fmt.Fprintln(os.Stderr, f)
	return f, err
}

// sum works out the figures of what the targets that are up counted.
func (f *figures) sum(targets map[string]*stats, written int, cpu, limit time.Duration) {
	f.Complete = true
	delivered := 0
	for name, t := range targets {
		delivered += t.Count + t.Repeats
		if name == downTarget {
			continue
		}
		f.OutOfOrder += t.OutOfOrder
		f.Repeats += t.Repeats
		f.Complete = f.Complete && t.Count == written
		took := t.Took
		if t.Count < written {
			took = max(took, limit)
		}
		f.PerSecond += float64(t.Count) / max(took, time.Microsecond).Seconds()
		f.Pause = max(f.Pause, t.Pause)
		for i := range f.Latency {
			f.Latency[i] = max(f.Latency[i], t.Latency[i])
		}
	}
	f.CPU = cpu.Seconds() * 1e6 / float64(max(1, delivered))
	f.Read /= float64(max(1, delivered))
}

func (f figures) String() string {
	return fmt.Sprintf("%-36s %-17s %7.0f/s  p50 %s p99 %s  CPU %.0f  peak %.0f MiB  load %s", f.Load, f.Contender, f.PerSecond,
		f.Latency[0].Round(100*time.Microsecond), f.Latency[1].Round(100*time.Microsecond), f.CPU, f.PeakMiB, f.Busy)
}

// warmUp is how long events flow before they are measured.
const warmUp = 2 * time.Second

// flowing writes events at the load's rate and returns what the targets counted, and
// how many events there were. The first event must have come.
func (b *bench) flowing(ctx context.Context, l load, p *publisher) (map[string]*stats, int, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	written, failed := 1, make(chan error, 1)
	go func() {
		var err error
		written, err = p.flow(ctx, written, l.rate)
		failed <- err
	}()
	<-time.After(warmUp)
	_, err := b.sink.ask(ctx, "/mark")
	select {
	case early := <-failed:
		return nil, written, errors.Join(err, early)
	case <-time.After(b.length()):
	}
	stop()
	err = errors.Join(err, <-failed)
	ctx = context.WithoutCancel(ctx)
	targets, late := b.sink.ask(ctx, "/wait?limit="+warmUp.String())
	return targets, written, errors.Join(err, late)
}
