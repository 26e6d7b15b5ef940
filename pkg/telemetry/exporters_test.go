package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAsked(t *testing.T) {
	for _, c := range []struct {
		name            string
		env             map[string]string
		traces, metrics bool
	}{
		{name: "nothing set"},
		{"endpoint", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, true, true},
		{"endpoint of traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318"}, true, false},
		{"exporter of metrics", map[string]string{"OTEL_METRICS_EXPORTER": "otlp"}, false, true},
		{"exporter none", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, false, true},
		{"prometheus is served anyway", map[string]string{"OTEL_METRICS_EXPORTER": "prometheus"}, false, false},
		{"disabled", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "TRUE"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			require.Equal(t, c.traces, asked("TRACES"))
			require.Equal(t, c.metrics, asked("METRICS"))
		})
	}
}

func TestSameExportErrorIsSaidOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		e := &errorLog{log: slog.New(slog.NewTextHandler(&out, nil))}
		lines := func() int { return strings.Count(out.String(), "\n") }
		away := errors.New("connection refused")

		e.Handle(away)
		e.Handle(away)
		require.Equal(t, 1, lines())
		e.Handle(errors.New("certificate expired"))
		require.Equal(t, 2, lines(), "another error is news")
		<-time.After(repeatAfter)
		e.Handle(errors.New("certificate expired"))
		require.Equal(t, 3, lines(), "the same one is, after a minute")
	})
}
