package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Metrics counts and measures. Its methods may be called from any goroutine and
// allocate nothing. docs/metrics.md lists what they record, under the names that
// Prometheus shows.
type Metrics struct {
	meter       metric.Meter
	attempts    *counter
	settled     *counter
	deadLetters *counter
	holds       *counter
	turns       *counter
	lost        *counter
	truncations *counter
	records     *counter
	commits     *counter
	commit      *histogram
	push        *histogram
	latency     *histogram
}

// NewMetrics makes the instruments, each series at zero: an alert on an increase
// needs a value to increase from. Targets and topics are those of the config;
// others are counted under "unlisted".
func NewMetrics(p metric.MeterProvider, targets, topics []string) (*Metrics, error) {
	b := &builder{meter: p.Meter(scope)}
	target := dimension{labelTarget, targets}
	m := &Metrics{
		meter: b.meter,
		attempts: b.counter("policysync.attempts", "{attempt}",
			"Attempts at a delivery, by what came of them. A batch counts once per delivery.",
			target, dimension{labelOutcome, attemptOutcomes()}),
		settled: b.counter("policysync.settled", "{delivery}",
			"Deliveries that ended, by how.",
			target, dimension{labelOutcome, settledOutcomes()}),
		deadLetters: b.counter("policysync.dead_letters", "{letter}",
			"Dead letters of a target that the broker acknowledged, by the class of the last error.",
			target, dimension{labelClass, errorClasses()}),
		holds: b.counter("policysync.holds", "{hold}",
			"Times that a target was held, because too many of its last keys failed for good.",
			target),
		turns: b.counter("policysync.breaker.turns", "{turn}",
			"Times that a target's breaker turned, by the state it turned to.",
			target, dimension{labelState, breakerStates()}),
		lost: b.counter("policysync.records.lost", "{record}",
			"Offsets that left the log before the target got them.",
			target),
		truncations: b.counter("policysync.log.truncations", "{truncation}",
			"Times that a log was found to end, or to be written anew, below what targets had settled; they then go back.",
			dimension{labelTopic, topics}),
		records: b.counter("policysync.records", "{record}",
			"Records read, by whether they could be decoded. An undecodable one is one dead letter.",
			dimension{labelTopic, topics}, dimension{labelOutcome, recordOutcomes()}),
		commits: b.counter("policysync.commits", "{commit}",
			"Commits of checkpoints.",
			dimension{labelOutcome, commitOutcomes()}),
		commit: b.histogram("policysync.commit.duration",
			"Time that a commit took, its receipts included. What settles meanwhile is in the next one; a crash may repeat it.",
			dimension{labelOutcome, commitOutcomes()}, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30),
		push: b.histogram("policysync.push.duration",
			"Time that a connector took for one push, or for one batch.",
			target, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60),
		latency: b.histogram("policysync.settle.latency",
			"Time from a record's timestamp until a delivery of it settled. What is filtered out is not measured.",
			target, LatencyBounds[:]...),
	}
	return m, errors.Join(b.errs...)
}

// Attempt counts one attempt at one delivery. Outcome is "success" or the class of
// the error.
func (m *Metrics) Attempt(target, outcome string) { m.attempts.add(1, target, outcome) }

// Push measures one call of a connector.
func (m *Metrics) Push(target string, took time.Duration) { m.push.record(target, took) }

// Settled counts the end of a delivery. Since is the time that has passed since
// the record's timestamp; it is not measured unless positive: 0 says that there
// was nothing to push, and clocks may differ.
func (m *Metrics) Settled(target, outcome string, since time.Duration) {
	m.settled.add(1, target, outcome)
	if since > 0 {
		m.latency.record(target, since)
	}
}

// DeadLetter counts an acknowledged dead letter of a target.
func (m *Metrics) DeadLetter(target, class string) { m.deadLetters.add(1, target, class) }

// Held counts the beginning of a hold.
func (m *Metrics) Held(target string) { m.holds.add(1, target, "") }

// BreakerTurned counts a breaker's change to the given state.
func (m *Metrics) BreakerTurned(target, state string) { m.turns.add(1, target, state) }

// Lost counts offsets that left the log before the target got them.
func (m *Metrics) Lost(target string, records int64) { m.lost.add(records, target, "") }

// Truncated counts a log that was cut below what targets had settled.
func (m *Metrics) Truncated(topic string) { m.truncations.add(1, topic, "") }

// Decoded counts a record that could be read.
func (m *Metrics) Decoded(topic string) { m.records.add(1, topic, "decoded") }

// Undecodable counts a record that could not.
func (m *Metrics) Undecodable(topic string) { m.records.add(1, topic, "undecodable") }

// Committed counts a commit, and measures it; err is what came of it.
func (m *Metrics) Committed(took time.Duration, err error) {
	outcome := "success"
	if err != nil {
		outcome = "failure"
	}
	m.commits.add(1, outcome, "")
	m.commit.record(outcome, took)
}

// LatencyBounds are the upper bounds, in seconds, of the buckets in which the time until
// a delivery has settled is counted.
var LatencyBounds = [...]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400}

// builder makes instruments and collects what goes wrong.
type builder struct {
	meter metric.Meter
	errs  []error
}

// dimension is a label with the values it may take.
type dimension struct {
	label  string
	values []string
}

// counter is a counter whose sets of one or two labels are made beforehand.
type counter struct {
	metric.Int64Counter
	sets map[[2]string][]metric.AddOption
}

func (b *builder) counter(name, unit, help string, dims ...dimension) *counter {
	c, err := b.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(help))
	b.errs = append(b.errs, err)
	made := &counter{Int64Counter: c, sets: map[[2]string][]metric.AddOption{}}
	second := dimension{values: []string{""}}
	if len(dims) > 1 {
		second = dims[1]
	}
	for _, x := range append([]string{unlisted}, dims[0].values...) {
		for _, y := range append([]string{unlisted}, second.values...) {
			labels := []attribute.KeyValue{attribute.String(dims[0].label, x)}
			if second.label != "" {
				labels = append(labels, attribute.String(second.label, y))
			}
			set := []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(labels...))}
			made.sets[[2]string{x, y}] = set
			if x != unlisted && y != unlisted {
				c.Add(context.Background(), 0, set...)
			}
		}
	}
	return made
}

func (c *counter) add(n int64, x, y string) {
	set, ok := c.sets[[2]string{x, y}]
	if !ok {
		if _, ok = c.sets[[2]string{x, unlisted}]; !ok {
			x = unlisted
		}
		if _, ok = c.sets[[2]string{unlisted, y}]; !ok {
			y = unlisted
		}
		set = c.sets[[2]string{x, y}]
	}
	c.Add(context.Background(), n, set...)
}

// histogram measures seconds, by one label.
type histogram struct {
	metric.Float64Histogram
	sets map[string][]metric.RecordOption
}

func (b *builder) histogram(name, help string, d dimension, bounds ...float64) *histogram {
	h, err := b.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(help),
		metric.WithExplicitBucketBoundaries(bounds...))
	b.errs = append(b.errs, err)
	made := &histogram{Float64Histogram: h, sets: map[string][]metric.RecordOption{}}
	for _, x := range append([]string{unlisted}, d.values...) {
		made.sets[x] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attribute.String(d.label, x)))}
	}
	return made
}

func (h *histogram) record(x string, took time.Duration) {
	set, ok := h.sets[x]
	if !ok {
		set = h.sets[unlisted]
	}
	h.Record(context.Background(), took.Seconds(), set...)
}
