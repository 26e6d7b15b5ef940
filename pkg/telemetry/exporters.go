package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// spanExporter returns the exporter of traces that the environment asks for, nil
// if it asks for none.
func spanExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	if !asked("TRACES") {
		return nil, nil
	}
	e, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("make exporter %q: %w", os.Getenv("OTEL_TRACES_EXPORTER"), err)
	}
	return e, nil
}

// metricReader returns the exporter of metrics that the environment asks for, nil
// if it asks for none, or for Prometheus, which is served anyway.
func metricReader(ctx context.Context) (sdkmetric.Reader, error) {
	if !asked("METRICS") {
		return nil, nil
	}
	r, err := autoexport.NewMetricReader(ctx)
	if err != nil {
		return nil, fmt.Errorf("make exporter %q: %w", os.Getenv("OTEL_METRICS_EXPORTER"), err)
	}
	return r, nil
}

// asked reports whether the environment asks for an exporter of the signal. The
// specification's default, OTLP to localhost, would be noise where nothing
// listens, so an exporter or an endpoint must be named.
func asked(signal string) bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	switch os.Getenv("OTEL_" + signal + "_EXPORTER") {
	case "none", "prometheus":
		return false
	case "":
		return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" ||
			os.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
	}
	return true
}

// repeatAfter is how long the same error of an exporter stays unsaid.
const repeatAfter = time.Minute

// errorLog logs the errors of exporters. A backend that is away fails every few
// seconds with the same text, which is said once a minute.
type errorLog struct {
	log *slog.Logger

	// mu guards the fields below: traces and metrics report from goroutines of
	// their own.
	mu   sync.Mutex
	last string
	said time.Time
}

// Handle implements OpenTelemetry's ErrorHandler.
func (e *errorLog) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text, now := err.Error(), time.Now()
	if text == e.last && now.Sub(e.said) < repeatAfter {
		return
	}
	e.last, e.said = text, now
	e.log.Warn("telemetry is not exported", "err", err)
}
