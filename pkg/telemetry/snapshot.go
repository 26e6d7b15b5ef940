package telemetry

import (
	"context"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// maxLaneSeries bounds the series of lag per partition that one process shows.
// With more lanes only the lag per target is shown.
const maxLaneSeries = 256

// Snapshot is what one process knows at one moment of what it is assigned.
type Snapshot struct {
	Targets []TargetSnapshot
	// CommitAge is how long what has settled has waited for a commit that succeeds, 0
	// while there is nothing to commit.
	CommitAge time.Duration
}

// TargetSnapshot is one target in this process.
type TargetSnapshot struct {
	Target string
	Lanes  []LaneSnapshot
	// OldestWaiting is the age of the oldest unsettled delivery, from its record's
	// timestamp; 0 if there is none.
	OldestWaiting time.Duration
	// InFlight is the number of attempts under way.
	InFlight int
	// Breaker is "closed", "open" or "half-open".
	Breaker string
	Paused  bool
	Held    bool
	// Failure is the last one of the target, while its breaker is not closed or it is
	// held.
	Failure string
	// Settled counts what has settled since the process started, by outcome; Latency
	// counts the time that it took, by [LatencyBounds] and what is above the last.
	Settled map[string]int64
	Latency []int64
	// Fenced: no attempt starts, since the group may have given up this member.
	Fenced bool
	// Throttled: the target has asked to be left alone for a while.
	Throttled bool
}

// actionable tells whether pushing is what the target's lag waits for, so that
// another member would shorten it.
func (t *TargetSnapshot) actionable() bool {
	return t.Breaker == "closed" && !t.Paused && !t.Held && !t.Fenced && !t.Throttled
}

// LaneSnapshot is one target on one partition.
type LaneSnapshot struct {
	Topic     string
	Partition int32
	// Lag is the number of offsets between the lane's cursor and the log's end.
	Lag int64
	// Deliveries and Bytes are what the lane holds, the windows what it may hold.
	Deliveries, WindowDeliveries int
	Bytes, WindowBytes           int64
}

// Observe shows as gauges what snapshot returns each time that the metrics are
// read. It is called once.
func (m *Metrics) Observe(snapshot func() Snapshot) error {
	b := &gaugeBuilder{meter: m.meter}
	g := gauges{
		lag: b.int("policysync.lag", "{record}",
			"Offsets between a target's cursors and the ends of the partitions assigned here."),
		actionable: b.int("policysync.actionable_lag", "{record}",
			"The same, but 0 while the target's breaker is not closed, or it is paused, held, fenced or throttled: the lag that more members would shorten."),
		laneLag: b.int("policysync.partition.lag", "{record}",
			"The same per partition; left out of a process with more than 256 lanes."),
		oldest: b.float("policysync.oldest_waiting", "s",
			"Age of the oldest record that a target has not settled."),
		deliveries: b.int("policysync.window.deliveries", "{delivery}",
			"Unsettled deliveries that the lanes of a target hold."),
		bytes: b.int("policysync.window.size", "By",
			"Memory that the unsettled deliveries of a target hold."),
		use: b.float("policysync.window.use", "1",
			"Fill of a target's fullest lane, of its window in deliveries or bytes: at 1 the lane takes no more."),
		inFlight: b.int("policysync.in_flight", "{attempt}",
			"Attempts under way."),
		breaker: b.int("policysync.breaker.state", "",
			"1 for the state that the breaker is in, 0 for the others."),
		paused: b.int("policysync.paused", "",
			"1 if an operator has paused the target."),
		held: b.int("policysync.held", "",
			"1 if the target is held, because too many of its last keys failed for good."),
		fenced: b.int("policysync.fenced", "",
			"1 if the target waits for the group to confirm a heartbeat, since another member may have its partitions."),
		commitAge: b.float("policysync.commit.age", "s",
			"Time for which what has settled has waited for a commit that succeeds, 0 while there is nothing to commit."),
	}
	if b.err != nil {
		return b.err
	}
	_, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		g.show(o, snapshot())
		return nil
	}, b.made...)
	return err
}

type gauges struct {
	lag, actionable, laneLag  metric.Int64Observable
	deliveries, bytes         metric.Int64Observable
	inFlight, breaker, paused metric.Int64Observable
	held, fenced              metric.Int64Observable
	oldest, use, commitAge    metric.Float64Observable
}

func (g *gauges) show(o metric.Observer, s Snapshot) {
	o.ObserveFloat64(g.commitAge, s.CommitAge.Seconds())
	lanes := 0
	for _, t := range s.Targets {
		lanes += len(t.Lanes)
	}
	for _, t := range s.Targets {
		g.showTarget(o, &t, lanes <= maxLaneSeries)
	}
}

func (g *gauges) showTarget(o metric.Observer, t *TargetSnapshot, perLane bool) {
	target := attribute.String(labelTarget, t.Target)
	labels := metric.WithAttributeSet(attribute.NewSet(target))
	var lag, deliveries, bytes int64
	var use float64
	for _, l := range t.Lanes {
		lag += l.Lag
		deliveries += int64(l.Deliveries)
		bytes += l.Bytes
		use = max(use, float64(l.Deliveries)/float64(l.WindowDeliveries), float64(l.Bytes)/float64(l.WindowBytes))
		if perLane {
			o.ObserveInt64(g.laneLag, l.Lag, metric.WithAttributes(target,
				attribute.String(labelTopic, l.Topic),
				attribute.String(labelPartition, strconv.Itoa(int(l.Partition)))))
		}
	}
	o.ObserveInt64(g.lag, lag, labels)
	o.ObserveInt64(g.actionable, lag*bit(t.actionable()), labels)
	o.ObserveInt64(g.deliveries, deliveries, labels)
	o.ObserveInt64(g.bytes, bytes, labels)
	o.ObserveFloat64(g.use, use, labels)
	o.ObserveFloat64(g.oldest, t.OldestWaiting.Seconds(), labels)
	o.ObserveInt64(g.inFlight, int64(t.InFlight), labels)
	o.ObserveInt64(g.paused, bit(t.Paused), labels)
	o.ObserveInt64(g.held, bit(t.Held), labels)
	o.ObserveInt64(g.fenced, bit(t.Fenced), labels)
	for _, state := range breakerStates() {
		o.ObserveInt64(g.breaker, bit(state == t.Breaker),
			metric.WithAttributes(target, attribute.String(labelState, state)))
	}
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// gaugeBuilder makes gauges and keeps the first thing that goes wrong.
type gaugeBuilder struct {
	meter metric.Meter
	made  []metric.Observable
	err   error
}

func (b *gaugeBuilder) int(name, unit, help string) metric.Int64Observable {
	g, err := b.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(help))
	b.keep(g, err)
	return g
}

func (b *gaugeBuilder) float(name, unit, help string) metric.Float64Observable {
	g, err := b.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(help))
	b.keep(g, err)
	return g
}

func (b *gaugeBuilder) keep(g metric.Observable, err error) {
	b.made = append(b.made, g)
	if b.err == nil {
		b.err = err
	}
}
