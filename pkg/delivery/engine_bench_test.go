package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
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
	records := manyRecords(b.N)
	deliver, end := startEngine(b, receipts, int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	deliver(records)
	b.StopTimer()
	end()
}

func manyRecords(n int) []*event.Record {
	records := make([]*event.Record, n)
	for i := range records {
		records[i] = record(int64(i), strconv.Itoa(i%10_000))
	}
	return records
}

// startEngine starts an engine with one target that takes each delivery at once.
// Deliver returns when all have settled or are about to.
func startEngine(tb testing.TB, receipts bool, logEnd int64) (deliver func([]*event.Record), end func()) {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	conn := &takesAll{}
	target := NewTarget(TargetConfig{
		Name: "target", Kind: "none", Settings: defaults(), Connector: conn,
		HoldRatio: 0.5, Metrics: testMetrics(tb), Logger: log,
	})
	commit, committed := make(chan struct{}, 1), make(chan struct{})
	e := NewEngine(Config{
		Targets: []*Target{target}, Decoder: fakeDecoder{}, Reader: fakeReader{}, Router: everywhere(1),
		Receipts: receipts, CommitEvery: 250, CommitNow: func() {
			select {
			case commit <- struct{}{}:
			default:
			}
		}, Tracer: testTracer(), Metrics: testMetrics(tb), Logger: log,
	})
	source := resumer{fakeLog: new(fakeLog), resumed: make(chan struct{}, 1)}
	p, err := e.Assign(tb.Context(), Assignment{Topic: "policies", TopicID: topicID, Committed: 0}, source)
	require.NoError(tb, err)
	go func() {
		defer close(committed)
		for range commit {
			if _, err := p.Checkpoint(); err != nil {
				tb.Error(err)
			}
			p.Saved()
		}
	}()
	return func(records []*event.Record) {
			conn.Add(len(records))
			for some := range slices.Chunk(records, 1000) {
				if p.Take(some, 0, logEnd) {
					<-source.resumed
				}
			}
			conn.Wait()
		}, func() {
			p.Abort()
			close(commit)
			<-committed
			require.NoError(tb, e.Close(context.Background()))
		}
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
