package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// BenchmarkEngine is the cost of one delivery beside decoding and pushing: records
// with keys spread, to one target that takes each at once, with
// checkpoints.
func BenchmarkEngine(b *testing.B) {
	for _, receipts := range []bool{true, false} {
		b.Run(fmt.Sprintf("receipts=%v", receipts), func(b *testing.B) { benchmarkEngine(b, receipts) })
	}
}

func benchmarkEngine(b *testing.B, receipts bool) {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	conn := &takesAll{}
	conn.Add(b.N)
	target := NewTarget(TargetConfig{
		Name: "target", Kind: "none", Settings: defaults(), Connector: conn,
		HoldRatio: 0.5, Metrics: testMetrics(b), Logger: log,
	})
	commit, committed := make(chan struct{}, 1), make(chan struct{})
	e := NewEngine(Config{
		Targets: []*Target{target}, Decoder: fakeDecoder{}, Reader: fakeReader{}, Router: everywhere(1),
		Receipts: receipts, CommitEvery: 250, CommitNow: func() {
			select {
			case commit <- struct{}{}:
			default:
			}
		}, Tracer: testTracer(), Metrics: testMetrics(b), Logger: log,
	})
	source := resumer{fakeLog: new(fakeLog), resumed: make(chan struct{}, 1)}
	p, err := e.Assign(b.Context(), Assignment{Topic: "policies", TopicID: topicID, Committed: 0}, source)
	require.NoError(b, err)
	go func() {
		defer close(committed)
		for range commit {
			if _, err := p.Checkpoint(); err != nil {
				b.Error(err)
			}
			p.Saved()
		}
	}()
	records := make([]*event.Record, b.N)
	for i := range records {
		records[i] = record(int64(i), strconv.Itoa(i%10_000))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += 1000 {
		if p.Take(records[i:min(i+1000, b.N)], 0, int64(b.N)) {
			<-source.resumed
		}
	}
	conn.Wait()
	b.StopTimer()
	p.Abort()
	close(commit)
	<-committed
	require.NoError(b, e.Close(context.Background()))
}

// resumer tells when the live feed may go on.
type resumer struct {
	*fakeLog

	resumed chan struct{}
}

func (r resumer) Resume() { r.resumed <- struct{}{} }

// takesAll is a target at no distance.
type takesAll struct{ sync.WaitGroup }

func (t *takesAll) Push(context.Context, *connector.Delivery) (connector.Receipt, error) {
	t.Done()
	return connector.Receipt{}, nil
}

func (*takesAll) Close(context.Context) error { return nil }

// BenchmarkWaitingDelivery is the memory of a delivery that waits for its target, each
// of another key, beside its event.
func BenchmarkWaitingDelivery(b *testing.B) {
	settings := defaults()
	settings.Concurrency, settings.Window = 1, Window{Deliveries: b.N + 1, Bytes: math.MaxInt64 / 2}
	log := slog.New(slog.DiscardHandler)
	target := NewTarget(TargetConfig{
		Name: "target", Kind: "none", Settings: settings, Connector: &recordingConnector{answer: refused},
		HoldRatio: 0.5, Metrics: testMetrics(b), Logger: log,
	})
	e := NewEngine(Config{
		Targets: []*Target{target}, Decoder: fakeDecoder{}, Reader: fakeReader{}, Router: everywhere(1),
		CommitNow: func() {}, Tracer: testTracer(), Metrics: testMetrics(b), Logger: log,
	})
	p, err := e.Assign(b.Context(), Assignment{Topic: "policies", TopicID: topicID}, &fakeLog{})
	require.NoError(b, err)
	events := make([]*event.Event, b.N)
	for i := range events {
		r := record(int64(i), strconv.Itoa(i))
		events[i] = &event.Event{Record: r, Key: string(r.Key), HasKey: true}
	}
	b.ReportAllocs()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	for _, ev := range events {
		if p.lanes[0].offer(b.Context(), ev, nil) != nil {
			b.Fatal("the window is full")
		}
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(b.N), "held-B/op")
	p.Abort()
	require.NoError(b, e.Close(context.Background()))
}
