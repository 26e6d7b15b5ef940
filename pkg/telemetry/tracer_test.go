package telemetry_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// span is what a test compares of a span.
type span struct {
	Name, Parent string
	Kind         trace.SpanKind
	Attributes   map[string]any
	Links        []string
}

// compare turns the ended spans of one trace into values, by name of the parent.
func compare(t *testing.T, spans []sdktrace.ReadOnlySpan) []span {
	t.Helper()
	names := map[trace.SpanID]string{}
	for _, s := range spans {
		require.Equal(t, spans[0].SpanContext().TraceID(), s.SpanContext().TraceID(), "one trace")
		names[s.SpanContext().SpanID()] = s.Name()
	}
	var out []span
	for _, s := range spans {
		v := span{Name: s.Name(), Parent: names[s.Parent().SpanID()], Kind: s.SpanKind(), Attributes: map[string]any{}}
		for _, kv := range s.Attributes() {
			v.Attributes[string(kv.Key)] = kv.Value.AsInterface()
		}
		for _, l := range s.Links() {
			v.Links = append(v.Links, names[l.SpanContext.SpanID()])
		}
		out = append(out, v)
	}
	return out
}

func TestOneTraceFromProducerToAttempt(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	tracer := telemetry.NewTracer(provider, "sync")

	record := &event.Record{
		Position: event.Position{Topic: "policies", Partition: 3, Offset: 42},
		Key:      []byte("p1"),
		Headers:  []event.Header{{Key: "traceparent", Value: []byte("of an earlier hop")}},
	}
	_, send := tracer.StartProduce(t.Context(), record)
	send.End()

	ctx, process := tracer.StartProcess(t.Context(), record)
	ev := &event.Event{Record: record, ID: "e1", Type: "policyUpdated", Key: "p1", HasKey: true, Version: 7, HasVersion: true}
	first, deliverA := tracer.StartDelivery(ctx, ev, "warehouse", "warehouse")
	_, deliverB := tracer.StartDelivery(ctx, &event.Event{Record: record, Key: "p2"}, "other", "warehouse")
	process.End()
	_, attempt := tracer.StartAttempt(first, 2, []trace.Link{{SpanContext: deliverB.SpanContext()}})
	attempt.End()
	deliverA.SetAttributes(telemetry.OutcomeKey.String("delivered"))
	deliverA.End()
	deliverB.End()

	destination := func(more map[string]any) map[string]any {
		more["messaging.system"], more["messaging.destination.name"] = "kafka", "policies"
		return more
	}
	want := []span{
		{Name: "send policies", Kind: trace.SpanKindProducer, Attributes: destination(map[string]any{
			"messaging.operation.name": "send", "messaging.operation.type": "send",
		})},
		{Name: "process policies", Parent: "send policies", Kind: trace.SpanKindConsumer, Attributes: destination(map[string]any{
			"messaging.operation.name": "process", "messaging.operation.type": "process",
			"messaging.consumer.group.name": "sync", "messaging.destination.partition.id": "3",
			"messaging.kafka.offset": int64(42), "messaging.kafka.message.key": "p1",
			"messaging.kafka.message.tombstone": true,
		})},
		{Name: "attempt", Parent: "deliver warehouse", Kind: trace.SpanKindInternal, Links: []string{"deliver other"}, Attributes: map[string]any{
			"policysync.attempt": int64(2), "messaging.batch.message_count": int64(2),
		}},
		{Name: "deliver warehouse", Parent: "process policies", Kind: trace.SpanKindInternal, Attributes: map[string]any{
			"policysync.target": "warehouse", "policysync.connector": "warehouse", "policysync.key": "p1",
			"policysync.event.id": "e1", "policysync.event.type": "policyUpdated", "policysync.version": int64(7),
			"policysync.outcome": "delivered",
		}},
		{Name: "deliver other", Parent: "process policies", Kind: trace.SpanKindInternal, Attributes: map[string]any{
			"policysync.target": "other", "policysync.connector": "warehouse", "policysync.key": "p2",
		}},
	}
	require.Empty(t, cmp.Diff(want, compare(t, recorder.Ended())))
}

// A trace that is not recorded here must reach the target all the same: others
// may record it.
func TestTraceIsPassedOn(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	for name, provider := range map[string]trace.TracerProvider{
		"without an exporter": noop.NewTracerProvider(),
		"not sampled":         sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record := &event.Record{Headers: []event.Header{
				{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")},
				{Key: "tracestate", Value: []byte("vendor=1")},
			}}
			tracer := telemetry.NewTracer(provider, "sync")
			ctx, _ := tracer.StartProcess(t.Context(), record)
			ctx, _ = tracer.StartDelivery(ctx, &event.Event{Record: record}, "target", "http")
			_, attempt := tracer.StartAttempt(ctx, 1, nil)
			attempt.End()
			sc := attempt.SpanContext()
			require.Equal(t, "0af7651916cd43dd8448eb211c80319c", sc.TraceID().String())
			require.Equal(t, "vendor=1", sc.TraceState().String())
			require.False(t, sc.IsSampled())
			require.Empty(t, recorder.Ended())
		})
	}
}

// Without an exporter another's trace costs a delivery nothing. AllocsPerRun can't run in parallel.
func TestTraceOfOthersIsFree(t *testing.T) {
	tracer := telemetry.NewTracer(noop.NewTracerProvider(), "sync")
	ev := &event.Event{Record: &event.Record{Headers: []event.Header{
		{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")},
	}}}
	ctx, _ := tracer.StartProcess(t.Context(), ev.Record)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		inside, _ := tracer.StartDelivery(ctx, ev, "target", "http")
		_, attempt := tracer.StartAttempt(inside, 1, nil)
		attempt.End()
	}))
}

func TestForeignTraceparentStartsItsOwnTrace(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"", "00", "\x00\xff", "00-00000000000000000000000000000000-b7ad6b7169203331-01"} {
		recorder := tracetest.NewSpanRecorder()
		tracer := telemetry.NewTracer(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)), "sync")
		_, s := tracer.StartProcess(t.Context(), &event.Record{
			Headers: []event.Header{{Key: "traceparent", Value: []byte(header)}},
		})
		s.End()
		require.Len(t, recorder.Ended(), 1)
		require.False(t, recorder.Ended()[0].Parent().IsValid(), "%q", header)
		require.Contains(t, recorder.Ended()[0].Attributes(), attribute.String("messaging.consumer.group.name", "sync"))
	}
}
