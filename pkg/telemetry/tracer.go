package telemetry

import (
	"context"
	"strconv"

	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/hms-sme/policysync/pkg/event"
)

// Tracer starts the spans of policysync. Per event there is one trace, the
// producer's if the record names one:
//
//	send TOPIC → process TOPIC → deliver TARGET → attempt → the connector's own
//
// Attributes are made only for spans that are sampled.
type Tracer struct {
	tracer trace.Tracer
	group  string
	// off: no exporter is set. Then the context of others' traces is passed on as it is:
	// its span is the one of all that is started in it.
	off bool
}

// NewTracer returns a tracer for a member of the given consumer group; a producer
// has none.
func NewTracer(p trace.TracerProvider, group string) *Tracer {
	_, off := p.(noop.TracerProvider)
	return &Tracer{tracer: p.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)), group: group, off: off}
}

// WithSpan returns ctx with the span in it, which is ctx itself if there is no trace.
func WithSpan(ctx context.Context, span trace.Span) context.Context {
	if !span.SpanContext().IsValid() {
		return ctx
	}
	return trace.ContextWithSpan(ctx, span)
}

// StartProcess starts the span of a consumed record: decoding and routing it. Its
// parent is the span that the record's traceparent header names (W3C Trace
// Context).
func (t *Tracer) StartProcess(ctx context.Context, r *event.Record) (context.Context, trace.Span) {
	if len(r.Headers) > 0 {
		ctx = propagation.TraceContext{}.Extract(ctx, recordCarrier{r})
	}
	if t.off {
		return ctx, trace.SpanFromContext(ctx)
	}
	ctx, span := t.tracer.Start(ctx, spanProcess+r.Topic, trace.WithSpanKind(trace.SpanKindConsumer))
	if span.IsRecording() {
		span.SetAttributes(
			semconv.MessagingSystemKafka,
			semconv.MessagingOperationName("process"),
			semconv.MessagingOperationTypeProcess,
			semconv.MessagingConsumerGroupName(t.group),
			semconv.MessagingDestinationName(r.Topic),
			semconv.MessagingDestinationPartitionID(strconv.Itoa(int(r.Partition))),
			semconv.MessagingKafkaOffset(int(r.Offset)),
		)
		if r.Key != nil {
			span.SetAttributes(semconv.MessagingKafkaMessageKey(string(r.Key)))
		}
		if r.Value == nil {
			span.SetAttributes(semconv.MessagingKafkaMessageTombstone(true))
		}
	}
	return ctx, span
}

// StartDelivery starts the span of one event for one target, a child of ctx's.
// It lasts until the delivery settles.
func (t *Tracer) StartDelivery(ctx context.Context, ev *event.Event, target, connector string) (context.Context, trace.Span) {
	if t.off {
		return ctx, trace.SpanFromContext(ctx)
	}
	ctx, span := t.tracer.Start(ctx, spanDeliver+target)
	if span.IsRecording() {
		span.SetAttributes(TargetKey.String(target), ConnectorKey.String(connector), PolicyKey.String(ev.Key))
		if ev.ID != "" {
			span.SetAttributes(EventIDKey.String(ev.ID))
		}
		if ev.Type != "" {
			span.SetAttributes(EventTypeKey.String(ev.Type))
		}
		if ev.HasVersion {
			span.SetAttributes(VersionKey.Int64(ev.Version))
		}
	}
	return ctx, span
}

// StartAttempt starts the span of the n-th attempt at the delivery whose span ctx
// holds. A batch's attempt is under its first delivery and links the others.
func (t *Tracer) StartAttempt(ctx context.Context, n int, others []trace.Link) (context.Context, trace.Span) {
	if t.off {
		return ctx, trace.SpanFromContext(ctx)
	}
	var options []trace.SpanStartOption
	if len(others) > 0 {
		options = append(options, trace.WithLinks(others...))
	}
	ctx, span := t.tracer.Start(ctx, spanAttempt, options...)
	if span.IsRecording() {
		span.SetAttributes(AttemptKey.Int(n))
		if len(others) > 0 {
			span.SetAttributes(semconv.MessagingBatchMessageCount(1 + len(others)))
		}
	}
	return ctx, span
}

// StartProduce starts the span of a record that is sent, and writes it into the
// record's headers as W3C trace context.
func (t *Tracer) StartProduce(ctx context.Context, r *event.Record) (context.Context, trace.Span) {
	ctx, span := t.tracer.Start(ctx, spanSend+r.Topic, trace.WithSpanKind(trace.SpanKindProducer))
	if span.IsRecording() {
		span.SetAttributes(
			semconv.MessagingSystemKafka,
			semconv.MessagingOperationName("send"),
			semconv.MessagingOperationTypeSend,
			semconv.MessagingDestinationName(r.Topic),
		)
	}
	propagation.TraceContext{}.Inject(ctx, recordCarrier{r})
	return ctx, span
}

// recordCarrier reads and writes trace context as headers of a record.
type recordCarrier struct{ *event.Record }

// Get returns the named header, empty if the record has none.
func (c recordCarrier) Get(name string) string { return string(c.Header(name)) }

// Set adds the header. The last one of a name is the one that counts.
func (c recordCarrier) Set(name, value string) {
	c.Headers = append(c.Headers, event.Header{Key: name, Value: []byte(value)})
}

// Keys returns the names of the headers.
func (c recordCarrier) Keys() []string {
	names := make([]string, len(c.Headers))
	for i, h := range c.Headers {
		names[i] = h.Key
	}
	return names
}
