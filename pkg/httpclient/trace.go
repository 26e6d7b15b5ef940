package httpclient

import (
	"maps"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// roundTripper adds credentials and a client span to each request.
type roundTripper struct {
	next        http.RoundTripper
	credentials *credentials
}

// RoundTrip sends req inside a span of its own, a child of the context's and of
// the same provider, and passes that span on as W3C trace context. Where nothing
// records it passes on the context's. Baggage is not passed on: what it holds is not
// meant for others.
func (t *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	span := trace.SpanFromContext(ctx)
	if !span.SpanContext().IsValid() && !t.credentials.apply(req) {
		return t.next.RoundTrip(req)
	}
	if span.IsRecording() {
		ctx, span = span.TracerProvider().Tracer("github.com/hms-sme/policysync/pkg/httpclient").
			Start(ctx, req.Method, trace.WithSpanKind(trace.SpanKindClient))
		defer span.End()
		span.SetAttributes(requestAttributes(req)...)
	}
	// A header is replaced and never changed in place, so that a copy of the map is enough.
	req = req.WithContext(ctx)
	req.Header = maps.Clone(req.Header)
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(req.Header))
	resp, err := t.send(req)
	if !span.IsRecording() {
		return resp, err
	}
	switch {
	case err != nil:
		span.SetAttributes(semconv.ErrorType(err))
		span.SetStatus(codes.Error, "no response")
	case resp.StatusCode >= 400:
		span.SetAttributes(semconv.HTTPResponseStatusCode(resp.StatusCode),
			semconv.ErrorTypeKey.String(strconv.Itoa(resp.StatusCode)))
		span.SetStatus(codes.Error, "")
	default:
		span.SetAttributes(semconv.HTTPResponseStatusCode(resp.StatusCode))
	}
	return resp, err
}

func requestAttributes(req *http.Request) []attribute.KeyValue {
	port, _ := strconv.Atoi(req.URL.Port())
	if port == 0 {
		port = map[string]int{"http": 80, "https": 443}[req.URL.Scheme]
	}
	return []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(req.Method),
		semconv.ServerAddress(req.URL.Hostname()),
		semconv.ServerPort(port),
		semconv.URLFull(redactURL(req.URL)),
	}
}
