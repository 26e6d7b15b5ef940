package telemetry

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// spanBatcher is the SDK's batching processor with its losses counted. The SDK
// drops spans silently when its queue is full; this one admits no more spans than
// the queue holds, so that each drop happens here.
type spanBatcher struct {
	sdktrace.SpanProcessor
	limit   int64
	waiting *atomic.Int64 // admitted and not yet exported
	lost    metric.Int64Counter
	full    metric.MeasurementOption
}

func newSpanBatcher(e sdktrace.SpanExporter, provider metric.MeterProvider) (*spanBatcher, error) {
	lost, err := provider.Meter(scope).Int64Counter("policysync.spans.dropped", metric.WithUnit("{span}"),
		metric.WithDescription("Spans that no backend got: the queue was full, or the export failed. Served where spans are exported."))
	if err != nil {
		return nil, err
	}
	reason := func(value string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", value)))
	}
	b := &spanBatcher{waiting: &atomic.Int64{}, lost: lost, full: reason("queue_full")}
	failed := reason("export_failed")
	for _, option := range []metric.MeasurementOption{b.full, failed} {
		lost.Add(context.Background(), 0, option)
	}
	b.SpanProcessor = sdktrace.NewBatchSpanProcessor(
		&countingExporter{SpanExporter: e, waiting: b.waiting, lost: lost, failed: failed},
		// The options come with the OTEL_BSP_* variables applied.
		func(o *sdktrace.BatchSpanProcessorOptions) { b.limit = int64(o.MaxQueueSize) })
	return b, nil
}

// OnEnd queues a span for export, or counts it as dropped.
func (b *spanBatcher) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if b.waiting.Add(1) > b.limit {
		b.waiting.Add(-1)
		b.lost.Add(context.Background(), 1, b.full)
		return
	}
	b.SpanProcessor.OnEnd(s)
}

// countingExporter tells the batcher what has left its queue.
type countingExporter struct {
	sdktrace.SpanExporter
	waiting *atomic.Int64
	lost    metric.Int64Counter
	failed  metric.MeasurementOption
}

// ExportSpans exports a batch and counts it as lost if that fails.
func (e *countingExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	n := int64(len(spans))
	e.waiting.Add(-n)
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		e.lost.Add(ctx, n, e.failed)
	}
	return err
}
