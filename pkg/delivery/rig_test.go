package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/route"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is an engine with recording targets and one partition, whose records have
// their key and version in their bytes.
type rig struct {
	*Engine
	t       *testing.T
	p       *Partition
	targets []*recordingConnector
	letters *recordingLetters
	feeds   *memoryFeeds
	log     *fakeLog
	commits int
	next    int64
	saving  sync.Mutex
	proofs  *proofs // where receipts are kept, if they are
}

type rigOption func(*rigConfig)

type rigConfig struct {
	settings []Settings
	start    Assignment
	ratio    float64
	history  []*event.Record
	orders   []*control.Replay
	log      *fakeLog
	out      io.Writer
	memory   int64
	router   Router // everything goes everywhere if nil
}

// defaults are the documented ones.
func defaults() Settings {
	return Settings{
		Concurrency: 32, Timeout: 10 * time.Second,
		Window:  Window{Deliveries: 5000, Bytes: 32 << 20},
		Retry:   Retry{Initial: 200 * time.Millisecond, Max: time.Minute, MaxAttempts: 8},
		Breaker: Breaker{FailureRatio: 0.5, MinRequests: 10, Window: 30 * time.Second, OpenFor: 5 * time.Second, OpenMax: time.Minute},
		Batch:   Batch{Size: 1},
	}
}

func withTarget(change func(*Settings)) rigOption {
	return func(c *rigConfig) {
		s := defaults()
		if change != nil {
			change(&s)
		}
		c.settings = append(c.settings, s)
	}
}

func resumeFrom(offset int64, meta string) rigOption {
	return func(c *rigConfig) { c.start.Committed, c.start.Metadata = offset, meta }
}

func logStart(offset int64) rigOption { return func(c *rigConfig) { c.start.LogStart = offset } }

func assigned(change func(*Assignment)) rigOption { return func(c *rigConfig) { change(&c.start) } }

// onLog is what the broker says of the log.
func onLog(l *fakeLog) rigOption { return func(c *rigConfig) { c.log = l } }

func logTo(w io.Writer) rigOption { return func(c *rigConfig) { c.out = w } }

func within(memory int64) rigOption { return func(c *rigConfig) { c.memory = memory } }

func routedBy(router Router) rigOption { return func(c *rigConfig) { c.router = router } }

// history is what the log holds before the live feed begins.
func history(log []*event.Record) rigOption { return func(c *rigConfig) { c.history = log } }

var topicID = event.TopicID{1, 2, 3}

// newRig must be called inside a synctest bubble.
func newRig(t *testing.T, opts ...rigOption) *rig {
	t.Helper()
	c := rigConfig{ratio: 0.5, log: &fakeLog{}, out: io.Discard, start: Assignment{Topic: "policies", TopicID: topicID, Committed: 0}}
	for _, o := range opts {
		o(&c)
	}
	if c.settings == nil {
		c.settings = []Settings{defaults()}
	}
	r := &rig{t: t, log: c.log, letters: &recordingLetters{}, feeds: &memoryFeeds{log: c.history, grown: make(chan struct{})}}
	log := slog.New(slog.NewTextHandler(c.out, nil))
	var targets []*Target
	for i, s := range c.settings {
		conn := &recordingConnector{}
		r.targets = append(r.targets, conn)
		var contract connector.Connector = conn
		if s.Batch.Size > 1 {
			contract = batchingConnector{conn}
		}
		targets = append(targets, NewTarget(TargetConfig{
			Name: fmt.Sprintf("target%d", i), Kind: "recording", Settings: s, Connector: contract,
			HoldRatio: c.ratio, Letters: r.letters, Metrics: testMetrics(t), Logger: log,
		}))
	}
	if c.router == nil {
		c.router = everywhere(len(targets))
	}
	r.Engine = NewEngine(Config{
		Targets: targets, Decoder: fakeDecoder{}, Reader: fakeReader{}, Router: c.router,
		Letters: r.letters, Feeds: r.feeds, Receipts: true, CommitEvery: 250, CommitNow: func() { r.commits++ },
		Memory: c.memory, Tracer: testTracer(), Metrics: testMetrics(t), Logger: log,
	})
	for i, order := range c.orders {
		r.Obey(int64(i), order)
	}
	r.assign(c.start)
	t.Cleanup(func() {
		r.p.Abort()
		require.NoError(t, r.Close(context.Background()))
	})
	return r
}

// assign begins an assignment.
func (r *rig) assign(a Assignment) {
	r.t.Helper()
	if a.LogEnd == 0 {
		a.LogEnd = a.Committed
	}
	var err error
	r.p, err = r.Assign(r.t.Context(), a, r.log)
	require.NoError(r.t, err)
	r.next, _ = r.p.Start()
}

// publish gives the partition one record per key, at the next offsets.
func (r *rig) publish(keys ...string) {
	records := make([]*event.Record, len(keys))
	for i, key := range keys {
		records[i] = record(r.next, key)
		r.next++
	}
	r.feeds.append(records...)
	r.p.Take(records, 0, r.next)
}

// attached reports whether a target's lane is on the live feed.
func (r *rig) attached(i int) bool {
	r.p.feeding.Lock()
	defer r.p.feeding.Unlock()
	return r.p.lanes[i].attached
}

func record(offset int64, key string) *event.Record {
	return &event.Record{
		Position:  event.Position{Topic: "policies", TopicID: topicID, Offset: offset},
		Key:       []byte(key),
		Value:     []byte(strconv.FormatInt(offset, 10)),
		Timestamp: time.Now(),
	}
}

func (r *rig) committable() int64 {
	offset, _ := r.checkpoint()
	return offset
}

func (r *rig) checkpoint() (offset int64, meta string) {
	r.t.Helper()
	r.saving.Lock() // as a member's commits are one after the other
	defer r.saving.Unlock()
	c, err := r.p.Checkpoint()
	require.NoError(r.t, err)
	if r.proofs != nil {
		r.proofs.keep(c.Receipts)
	}
	r.p.Saved()
	return c.Offset, c.Metadata
}

// settlesAll waits, in the bubble's time, until everything published has settled.
func (r *rig) settlesAll(within time.Duration) {
	r.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); {
		synctest.Wait()
		if r.committable() == r.next {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	require.Equal(r.t, r.next, r.committable(), "committable offset after %s", within)
}

// recordingLetters acknowledges what it gets, unless it is told to fail or block.
type recordingLetters struct {
	mu      sync.Mutex
	letters []deadletter.Letter
	fail    error
	block   chan struct{}
	delay   time.Duration
}

func (l *recordingLetters) Write(ctx context.Context, letter deadletter.Letter, _ *event.Record) error {
	l.mu.Lock()
	block, fail, delay := l.block, l.fail, l.delay
	l.mu.Unlock()
	if err := pause(ctx, delay); err != nil {
		return err
	}
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fail != nil {
		return fail
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.letters = append(l.letters, letter)
	return nil
}

func (l *recordingLetters) all() []deadletter.Letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.letters)
}

var emptyRecord = &event.Type{Kind: event.Rec}

// fakeDecoder knows one undecodable value and one whose schema can't be had now.
type fakeDecoder struct{}

func (fakeDecoder) Decode(_ context.Context, r *event.Record) (*event.Object, *event.Schema, error) {
	switch {
	case string(r.Key) == "garbage":
		return nil, nil, &decode.UndecodableError{Err: errors.New("not Avro")}
	case string(r.Key) == "registry-down" && time.Since(r.Timestamp) < time.Minute:
		return nil, nil, &decode.UnavailableError{Err: errors.New("connection refused")}
	}
	return &event.Object{}, &event.Schema{ID: 7, Root: emptyRecord}, nil
}

type fakeReader struct{}

func (fakeReader) Read(r *event.Record, value *event.Object, schema *event.Schema) (*event.Event, error) {
	return &event.Event{
		Record: r, Key: string(r.Key), HasKey: len(r.Key) > 0, Value: value, Schema: schema,
		Version: r.Offset, HasVersion: true,
	}, nil
}

type everywhere int

func (n everywhere) Route(*event.Event) route.Decision {
	return route.Decision{Targets: slices.Repeat([]route.Verdict{{Deliver: true}}, int(n))}
}

// sometimes fails with the given probability, after a random while.
func sometimes(p float64, err error) func(context.Context, *connector.Delivery) error {
	return func(ctx context.Context, _ *connector.Delivery) error {
		if e := pause(ctx, rand.N(100*time.Millisecond)); e != nil {
			return e
		}
		if rand.Float64() < p {
			return err
		}
		return nil
	}
}

func testMetrics(t testing.TB) *telemetry.Metrics {
	t.Helper()
	m, err := telemetry.NewMetrics(metricnoop.NewMeterProvider(), nil, nil)
	require.NoError(t, err)
	return m
}

func testTracer() *telemetry.Tracer {
	return telemetry.NewTracer(tracenoop.NewTracerProvider(), "group")
}
