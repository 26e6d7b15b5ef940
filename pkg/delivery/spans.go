package delivery

import (
	"fmt"

	"github.com/sony/gobreaker/v2"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

const stateHalfOpen = gobreaker.StateHalfOpen

func spans(entries []*pending) []trace.Link {
	var links []trace.Link
	for _, p := range entries {
		if sc := p.span.SpanContext(); sc.IsSampled() {
			links = append(links, trace.Link{SpanContext: sc})
		}
	}
	return links
}

// endAttempt ends an attempt's span with the first failure of its results.
func endAttempt(span trace.Span, rs []connector.Result) {
	if span.IsRecording() {
		for _, r := range rs {
			if r.Err != nil {
				span.SetStatus(codes.Error, r.Err.Error())
				span.SetAttributes(telemetry.ErrorTypeKey.String(string(connector.Classify(r.Err))))
				break
			}
		}
	}
	span.End()
}

// traceID is the id under which the backend shows the span, empty if there is none.
func traceID(span trace.Span) string {
	if sc := span.SpanContext(); sc.HasTraceID() {
		return sc.TraceID().String()
	}
	return ""
}

// describe fills in what a letter says of its record, and of the event if it could
// be read.
func describe(l *deadletter.Letter, r *event.Record, ev *event.Event) {
	l.Position, l.Timestamp = r.Position, r.Timestamp
	if ev != nil {
		l.Version, l.HasVersion = ev.Version, ev.HasVersion
		if ev.Schema != nil {
			l.SchemaID = ev.Schema.ID
		}
	}
}

// unknownTarget is why an event that names a target we do not have is a dead letter.
func unknownTarget(name string) error {
	return fmt.Errorf("route: the event names target %q, which the config does not have; add it, or set route.unknown to ignore", name)
}
