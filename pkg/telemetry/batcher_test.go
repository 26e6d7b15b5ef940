package telemetry

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// gatedExporter exports nothing before the gate opens.
type gatedExporter struct {
	entered  chan struct{}
	gate     chan struct{}
	exported int
	err      error
}

func (e *gatedExporter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.entered <- struct{}{}
	<-e.gate
	if e.err == nil {
		e.exported += len(spans)
	}
	return e.err
}

func (e *gatedExporter) Shutdown(context.Context) error { return nil }

func TestDroppedSpansAreCounted(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) // failed exports are meant here
	for name, c := range map[string]struct {
		err      error
		exported int
		dropped  map[string]int64
	}{
		"queue full":    {exported: 12, dropped: map[string]int64{"queue_full": 5, "export_failed": 0}},
		"export failed": {err: errors.New("refused"), dropped: map[string]int64{"queue_full": 5, "export_failed": 12}},
	} {
		t.Run(name, func(t *testing.T) {
			reader := sdkmetric.NewManualReader()
			exporter := &gatedExporter{entered: make(chan struct{}, 100), gate: make(chan struct{}), err: c.err}
			b, err := newSpanBatcher(exporter, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
			require.NoError(t, err)
			provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b))
			end := func(n int) {
				for range n {
					_, span := provider.Tracer("").Start(t.Context(), "span")
					span.End()
				}
			}
			end(2)
			<-exporter.entered // the first batch has left the queue
			end(15)            // of which the queue takes ten
			close(exporter.gate)
			require.NoError(t, provider.Shutdown(t.Context()))
			require.Equal(t, c.exported, exporter.exported)
			require.Empty(t, cmp.Diff(c.dropped, droppedSpans(t, reader)))
		})
	}
}

func droppedSpans(t *testing.T, r sdkmetric.Reader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, r.Collect(t.Context(), &all))
	dropped := map[string]int64{}
	for _, m := range all.ScopeMetrics[0].Metrics {
		sum, ok := m.Data.(metricdata.Sum[int64])
		require.True(t, ok)
		for _, p := range sum.DataPoints {
			reason, _ := p.Attributes.Value("reason")
			dropped[reason.AsString()] = p.Value
		}
	}
	return dropped
}
