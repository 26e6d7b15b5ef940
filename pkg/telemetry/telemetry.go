// Package telemetry is how policysync is seen from outside: traces, metrics and
// logs that carry the trace id. It owns the set-up of OpenTelemetry, and the names
// of all spans, metrics and attributes, so that the rest of the program says what
// happened and not how that is called.
//
// It sets no global provider: who records a span or a number was given the means.
// What listens on a port is package admin's.
package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// scope names the instrumentation in traces and metrics.
const scope = "github.com/hms-sme/policysync"

// Config names the process in traces and metrics. Exporters, samplers, limits and further
// resource attributes are set by the standard OTEL_* variables.
type Config struct {
	// ServiceName is the service.name of traces and metrics. OTEL_SERVICE_NAME and
	// OTEL_RESOURCE_ATTRIBUTES go before it.
	ServiceName string `yaml:"service_name" default:"policysync"`
	// TraceURL is where the console finds a trace, with {trace} for its id. Empty: it
	// shows the id alone.
	TraceURL string `yaml:"trace_url"`
}

// Telemetry holds the providers of one process.
type Telemetry struct {
	// TracerProvider makes spans. Without an exporter it makes none, and a trace
	// that a record brings along is passed on as it came.
	TracerProvider trace.TracerProvider
	// MeterProvider feeds Handler, and the exporter that OTEL_* variables ask for.
	MeterProvider metric.MeterProvider

	registry *prometheus.Registry
	closers  []func(context.Context) error // the last one first
}

// Setup makes the providers. Traces and metrics are exported as the standard
// OTEL_* variables say, and nowhere if none of them names an exporter or an
// endpoint; metrics are served by Handler in any case. Errors of exporters go to
// log, which is a process-wide setting of OpenTelemetry.
func Setup(ctx context.Context, c Config, version string, log *slog.Logger) (*Telemetry, error) {
	otel.SetErrorHandler(&errorLog{log: log})
	res, err := describe(ctx, c, version)
	if err != nil {
		return nil, fmt.Errorf("describe the process: %w", err)
	}
	t := &Telemetry{TracerProvider: noop.NewTracerProvider()}
	if err := t.startMetrics(ctx, res); err != nil {
		t.Shutdown(ctx)
		return nil, fmt.Errorf("set up metrics: %w", err)
	}
	if err := t.startTraces(ctx, res); err != nil {
		t.Shutdown(ctx)
		return nil, fmt.Errorf("set up traces: %w", err)
	}
	return t, nil
}

// Handler serves the metrics in Prometheus' format.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// Shutdown sends what has not been exported yet, for as long as ctx allows, and
// ends the exporters. What a backend does not take is lost and logged, as at any other
// time: it is no failure of the process.
func (t *Telemetry) Shutdown(ctx context.Context) {
	for _, closer := range slices.Backward(t.closers) {
		if err := closer(ctx); err != nil {
			otel.Handle(err)
		}
	}
}

func (t *Telemetry) startMetrics(ctx context.Context, res *resource.Resource) error {
	t.registry = prometheus.NewRegistry()
	t.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	served, err := otelprometheus.New(otelprometheus.WithRegisterer(t.registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return err
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithReader(served)}
	pushed, err := metricReader(ctx)
	if err != nil {
		return err
	}
	if pushed != nil {
		options = append(options, sdkmetric.WithReader(pushed))
	}
	provider := sdkmetric.NewMeterProvider(options...)
	t.MeterProvider = provider
	t.closers = append(t.closers, provider.Shutdown)
	return nil
}

func (t *Telemetry) startTraces(ctx context.Context, res *resource.Resource) error {
	exporter, err := spanExporter(ctx)
	if err != nil || exporter == nil {
		return err
	}
	processor, err := newSpanBatcher(exporter, t.MeterProvider)
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithSpanProcessor(processor))
	t.TracerProvider = provider
	t.closers = append(t.closers, provider.Shutdown)
	return nil
}

// describe says which process the telemetry is of. The instance id keeps the
// metrics of replicas apart.
func describe(ctx context.Context, c Config, version string) (*resource.Resource, error) {
	own := []attribute.KeyValue{
		semconv.ServiceName(c.ServiceName),
		semconv.ServiceVersion(version),
		semconv.ServiceInstanceID(uuid.NewString()),
	}
	return resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(own...), resource.WithFromEnv())
}
