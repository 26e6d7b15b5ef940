package kafka

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/delivery"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/route"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

const (
	topic  = "policies"
	group  = "sync"
	letter = "letters"

	// patience bounds every wait on a broker in memory, on a machine that is busy.
	patience = 30 * time.Second
	// never is an interval after which no test is still running.
	never = time.Hour
)

// cluster is a broker in memory with one topic of policies and one of letters.
type cluster struct {
	*kfake.Cluster
	t      *testing.T
	writer *kgo.Client
}

func newCluster(t *testing.T, partitions int32, opts ...kfake.Opt) *cluster {
	t.Helper()
	opts = append([]kfake.Opt{
		kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic), kfake.SeedTopics(1, letter),
		kfake.GroupMinSessionTimeout(time.Second),
		kfake.BrokerConfigs(map[string]string{"group.consumer.heartbeat.interval.ms": "200"}),
	}, opts...)
	broker, err := kfake.NewCluster(opts...)
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	writer, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(writer.Close)
	return &cluster{Cluster: broker, t: t, writer: writer}
}

func (c *cluster) config() Config {
	return Config{
		Brokers: c.ListenAddrs(), Group: group, Topics: []string{topic}, ClientID: "test",
		SessionTimeout: 15 * time.Second, GroupProtocol: "classic",
	}
}

// publish writes one record per value to a partition, under keys that repeat.
func (c *cluster) publish(partition int32, values ...string) {
	c.t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		key := fmt.Sprintf("%d-%d", partition, i%3)
		records[i] = &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: []byte(v)}
	}
	require.NoError(c.t, c.writer.ProduceSync(c.t.Context(), records...).FirstErr())
}

// admin looks at the cluster as the commands do.
func (c *cluster) admin() *Admin {
	c.t.Helper()
	a, err := NewAdmin(c.config(), slog.New(slog.DiscardHandler))
	require.NoError(c.t, err)
	c.t.Cleanup(a.Close)
	return a
}

// committed returns the group's commit of a partition, -1 if there is none.
func (c *cluster) committed(partition int32) kfake.GroupCommit {
	if g := c.GroupInfo(group); g != nil {
		if commit, ok := g.Commits[topic][partition]; ok {
			return commit
		}
	}
	return kfake.GroupCommit{Offset: -1}
}

// settled waits until every partition is committed to its end.
func (c *cluster) settled() {
	c.t.Helper()
	eventually(c.t, "commits up to the end of the log", func() bool {
		for _, p := range c.PartitionInfos(topic) {
			if p.HighWatermark > 0 && c.committed(p.Partition).Offset != p.HighWatermark {
				return false
			}
		}
		return true
	})
}

// observe counts requests of a kind from now on.
func (c *cluster) observe(key kmsg.Key) *kfake.FaultHandle {
	return c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Observe: true, Count: -1})
}

// throwOut makes the group forget its member at the next heartbeat.
func (c *cluster) throwOut() {
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.UnknownMemberID})
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat}, TopLevel: true, Err: kerr.FencedMemberEpoch})
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, what)
}

// member is one process of the group, with its log and the errors of its commits.
type member struct {
	*Group
	engine *delivery.Engine
	log    *lockedBuffer
	mu     sync.Mutex
	errs   []error
}

type memberOption func(*GroupConfig, *Config, *delivery.Settings)

func commitEach(d time.Duration) memberOption {
	return func(g *GroupConfig, _ *Config, _ *delivery.Settings) { g.Interval = d }
}

func drainFor(d time.Duration) memberOption {
	return func(g *GroupConfig, _ *Config, _ *delivery.Settings) { g.Drain = d }
}

func withProtocol(p string) memberOption {
	return func(_ *GroupConfig, c *Config, _ *delivery.Settings) { c.GroupProtocol = p }
}

func withInstance(id string) memberOption {
	return func(_ *GroupConfig, c *Config, _ *delivery.Settings) { c.InstanceID = id }
}

// withSession shortens the session, and attempts so that they fit it.
func withSession(session, timeout time.Duration) memberOption {
	return func(_ *GroupConfig, c *Config, s *delivery.Settings) { c.SessionTimeout, s.Timeout = session, timeout }
}

func withWindow(n int) memberOption {
	return func(_ *GroupConfig, _ *Config, s *delivery.Settings) { s.Window.Deliveries = n }
}

func withReceipts(w *Receipts) memberOption {
	return func(g *GroupConfig, _ *Config, _ *delivery.Settings) { g.Receipts = w }
}

// join starts a member that pushes to the given targets, and stops it at the end of
// the test.
func (c *cluster) join(targets map[string]*recorder, opts ...memberOption) *member {
	c.t.Helper()
	m := &member{log: &lockedBuffer{}}
	g := GroupConfig{
		Drain: patience, Interval: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(m.log, nil)),
		Committed: func(_ time.Duration, err error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.errs = append(m.errs, err)
		},
	}
	config := c.config()
	settings := delivery.Settings{
		Concurrency: 32, Timeout: 10 * time.Second,
		Window:  delivery.Window{Deliveries: 5000, Bytes: 32 << 20},
		Retry:   delivery.Retry{Initial: time.Millisecond, Max: time.Millisecond, MaxAttempts: 8},
		Breaker: delivery.Breaker{FailureRatio: 1, MinRequests: 1000, Window: time.Minute, OpenFor: time.Second, OpenMax: time.Second},
	}
	for _, o := range opts {
		o(&g, &config, &settings)
	}
	g.Session = config.SessionTimeout
	producer, err := NewProducer(config, g.Logger)
	require.NoError(c.t, err)
	letters := Letters{Producer: producer, Topic: letter}
	metrics, err := telemetry.NewMetrics(metricnoop.NewMeterProvider(), nil, nil)
	require.NoError(c.t, err)
	engine := delivery.Config{
		Decoder: plainText{}, Reader: plainText{}, Router: everywhere(len(targets)), Letters: letters, Feeds: NewCatchUps(config, g.Logger),
		CommitEvery: 1_000_000, Receipts: g.Receipts != nil,
		Tracer: telemetry.NewTracer(tracenoop.NewTracerProvider(), group), Metrics: metrics, Logger: g.Logger,
	}
	for name, r := range targets {
		engine.Targets = append(engine.Targets, delivery.NewTarget(delivery.TargetConfig{
			Name: name, Kind: "recorder", Settings: settings, Connector: r, HoldRatio: 1,
			Letters: letters, Metrics: metrics, Logger: g.Logger,
		}))
	}
	m.engine = delivery.NewEngine(engine)
	g.Engine = m.engine
	m.Group, err = Join(config, g)
	require.NoError(c.t, err)
	c.t.Cleanup(func() {
		m.Stop(false)
		require.NoError(c.t, m.engine.Close(context.Background()))
		require.NoError(c.t, producer.Close())
		if c.t.Failed() {
			c.t.Log(m.log.String())
		}
	})
	return m
}

// oneUncommitted is a member that has pushed the only record there is, and commits when it is
// asked to.
func oneUncommitted(t *testing.T) (*cluster, *member, *recorder) {
	t.Helper()
	c := newCluster(t, 1)
	c.publish(0, "a")
	target := newRecorder()
	m := c.join(map[string]*recorder{"target": target}, commitEach(never))
	eventually(t, "it arrived", func() bool { n, _ := target.arrived(); return n == 1 })
	return c, m, target
}

// feed reads nothing yet; fetch is in bytes.
func (c *cluster) feed(fetch int32) *feed {
	c.t.Helper()
	config := c.config()
	f, err := newFeed(&config, slog.New(slog.DiscardHandler), fetch)
	require.NoError(c.t, err)
	c.t.Cleanup(f.close)
	return f
}

func (m *member) commitErrors() []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.errs)
}

// recorder is an external system: it remembers what was applied, by partition and
// offset, and how often the order of a key was broken.
type recorder struct {
	mu      sync.Mutex
	applied map[place]int
	newest  map[string]int64
	late    []string
	tried   map[place]int
	// gate says what becomes of an attempt; nil applies it at once.
	gate func(ctx context.Context, p place) error
}

type place struct {
	partition int32
	offset    int64
}

func newRecorder() *recorder {
	return &recorder{applied: map[place]int{}, newest: map[string]int64{}, tried: map[place]int{}}
}

func (r *recorder) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	p := place{d.Event.Partition, d.Event.Offset}
	r.mu.Lock()
	r.tried[p]++
	gate := r.gate
	r.mu.Unlock()
	if gate != nil {
		if err := gate(ctx, p); err != nil {
			return connector.Receipt{}, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.applied[p]++; r.applied[p] == 1 {
		if before, ok := r.newest[d.Key]; ok && before > p.offset {
			r.late = append(r.late, fmt.Sprintf("%s: %d after %d", d.Key, p.offset, before))
		}
		r.newest[d.Key] = p.offset
	}
	return connector.Receipt{}, nil
}

func (*recorder) Close(context.Context) error { return nil }

func (r *recorder) set(gate func(context.Context, place) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = gate
}

// arrived is how many different records were applied; repeated, how many of them
// more than once.
func (r *recorder) arrived() (n, repeated int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, times := range r.applied {
		if times > 1 {
			repeated++
		}
	}
	return len(r.applied), repeated
}

func (r *recorder) attempts() map[place]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.tried)
}

func (r *recorder) inOrder(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Empty(t, r.late, "first arrivals after a later one of their key")
}

// closedFor returns a gate that keeps the given places in flight until open is
// closed or the attempt is cancelled.
func closedFor(open <-chan struct{}, places ...place) func(context.Context, place) error {
	return func(ctx context.Context, p place) error {
		for _, closed := range places {
			if p == closed {
				select {
				case <-open:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	}
}

// plainText decodes and reads records whose value is the text itself.
type plainText struct{}

func (plainText) Decode(context.Context, *event.Record) (*event.Object, *event.Schema, error) {
	return &event.Object{}, &event.Schema{ID: 7, Root: &event.Type{Kind: event.Rec}}, nil
}

func (plainText) Read(r *event.Record, value *event.Object, schema *event.Schema) (*event.Event, error) {
	return &event.Event{Record: r, Key: string(r.Key), HasKey: true, Value: value, Schema: schema}, nil
}

type everywhere int

func (n everywhere) Route(*event.Event) route.Decision {
	d := route.Decision{Targets: make([]route.Verdict, n)}
	for i := range d.Targets {
		d.Targets[i].Deliver = true
	}
	return d
}

// lockedBuffer is a log that a test reads while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func numbered(n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = strconv.Itoa(i)
	}
	return values
}
