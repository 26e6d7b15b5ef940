package telemetry_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/hms-sme/policysync/pkg/telemetry"
)

func TestLogLineCarriesTheTrace(t *testing.T) {
	t.Parallel()
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2},
	}))
	var out bytes.Buffer
	log := telemetry.NewLogger(&out, slog.LevelInfo, true).With("target", "warehouse")

	log.InfoContext(ctx, "delivery became a dead letter")
	var line map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &line))
	require.Equal(t, "warehouse", line["target"])
	require.Equal(t, "01000000000000000000000000000000", line["trace_id"])
	require.Equal(t, "0200000000000000", line["span_id"])

	out.Reset()
	log.InfoContext(t.Context(), "no span")
	log.DebugContext(ctx, "below the level")
	require.NotContains(t, out.String(), "trace_id")
	require.NotContains(t, out.String(), "below")
}
