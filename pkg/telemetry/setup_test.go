package telemetry_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	tracecollector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// collector is an OTLP backend over HTTP that keeps what it is sent, by path.
type collector struct {
	mu     sync.Mutex
	bodies map[string][][]byte
}

func (c *collector) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(body)
	}
	b, _ := io.ReadAll(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bodies[r.URL.Path] = append(c.bodies[r.URL.Path], b)
}

func TestSetupExportsToTheEndpoint(t *testing.T) {
	backend := &collector{bodies: map[string][][]byte{}}
	server := httptest.NewServer(backend)
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")

	tel, err := telemetry.Setup(t.Context(), telemetry.Config{ServiceName: "sync"}, "v1.2.3", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	_, span := telemetry.NewTracer(tel.TracerProvider, "sync").StartProcess(t.Context(), &event.Record{
		Position: event.Position{Topic: "policies"},
	})
	span.End()
	tel.Shutdown(t.Context())
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()

	require.NotEmpty(t, backend.bodies["/v1/metrics"])
	require.Len(t, backend.bodies["/v1/traces"], 1)
	var sent tracecollector.ExportTraceServiceRequest
	require.NoError(t, proto.Unmarshal(backend.bodies["/v1/traces"][0], &sent))
	resource := map[string]string{}
	for _, kv := range sent.GetResourceSpans()[0].GetResource().GetAttributes() {
		resource[kv.GetKey()] = kv.GetValue().GetStringValue()
	}
	require.Equal(t, "sync", resource["service.name"])
	require.Equal(t, "v1.2.3", resource["service.version"])
	require.Equal(t, "test", resource["deployment.environment.name"])
	require.NotEmpty(t, resource["service.instance.id"])
	require.Equal(t, "process policies", sent.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()[0].GetName())
}

func TestSetupWithoutExporter(t *testing.T) {
	t.Parallel()
	tel, err := telemetry.Setup(t.Context(), telemetry.Config{ServiceName: "sync"}, "v1.2.3", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	_, span := tel.TracerProvider.Tracer("").Start(t.Context(), "span")
	span.End()
	require.False(t, span.IsRecording())

	metrics, err := telemetry.NewMetrics(tel.MeterProvider, []string{"warehouse"}, nil)
	require.NoError(t, err)
	metrics.Attempt("warehouse", "success")
	page := httptest.NewRecorder()
	tel.Handler().ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	require.Contains(t, page.Body.String(), `policysync_attempts_total{outcome="success",target="warehouse"} 1`)
	require.Contains(t, page.Body.String(), "go_goroutines")
	tel.Shutdown(t.Context())
}

// A backend that takes traces alone, as Jaeger does, is told of in the log.
func TestShutdownOfARefusedExport(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", server.URL)
	var log bytes.Buffer
	tel, err := telemetry.Setup(t.Context(), telemetry.Config{}, "", slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	_, err = telemetry.NewMetrics(tel.MeterProvider, []string{"warehouse"}, nil)
	require.NoError(t, err)
	tel.Shutdown(t.Context())
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	require.Contains(t, log.String(), `msg="telemetry is not exported" err="failed to upload metrics`)
}

func TestSetupRefusesAnUnknownExporter(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
	_, err := telemetry.Setup(t.Context(), telemetry.Config{}, "", slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, `set up traces: make exporter "carrier-pigeon": unknown exporter`)
}
