package telemetry_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

const document = "../../docs/metrics.md"

// rig is a whole set-up with one target and one topic.
type rig struct {
	*telemetry.Metrics
	tel *telemetry.Telemetry
}

func newRig(t *testing.T) *rig {
	t.Helper()
	tel, err := telemetry.Setup(t.Context(), telemetry.Config{}, "", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { tel.Shutdown(context.WithoutCancel(t.Context())) })
	m, err := telemetry.NewMetrics(tel.MeterProvider, []string{"TARGET"}, []string{"TOPIC"})
	require.NoError(t, err)
	return &rig{Metrics: m, tel: tel}
}

// families reads /metrics, without what is not policysync's own.
func (r *rig) families(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	page := httptest.NewRecorder()
	r.tel.Handler().ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, page.Code)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	all, err := parser.TextToMetricFamilies(page.Body)
	require.NoError(t, err)
	maps.DeleteFunc(all, func(name string, _ *dto.MetricFamily) bool { return !strings.HasPrefix(name, "policysync_") })
	return all
}

// series returns the values of a family by their labels, such as "TARGET/open".
func (r *rig) series(t *testing.T, family string) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	f := r.families(t)[family]
	require.NotNil(t, f, family)
	for _, m := range f.GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetValue())
		}
		v := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		values[strings.Join(labels, "/")] = v
	}
	return values
}

func TestCounters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Attempt("TARGET", "success")
	r.Attempt("TARGET", "success")
	r.Attempt("TARGET", string(connector.Unavailable))
	r.Attempt("named by an event", "made up")
	require.Empty(t, cmp.Diff(map[string]float64{
		"success/TARGET": 2, "unavailable/TARGET": 1, "permanent/TARGET": 0, "transient/TARGET": 0,
		"throttled/TARGET": 0, "unlisted/unlisted": 1,
	}, r.series(t, "policysync_attempts_total")))

	r.Settled("TARGET", "filtered", 0)
	r.Settled("TARGET", "delivered", time.Second)
	r.Settled("another", "delivered", -time.Second)
	require.Equal(t, map[string]float64{"TARGET": 1}, r.series(t, "policysync_settle_latency_seconds"))

	r.Committed(time.Second, nil)
	r.Committed(time.Minute, errors.New("fenced"))
	require.Equal(t, map[string]float64{"success": 1, "failure": 1}, r.series(t, "policysync_commits_total"))
	require.Equal(t, map[string]float64{"success": 1, "failure": 1}, r.series(t, "policysync_commit_duration_seconds"))
}

// The classes are listed here and defined in package connector, which stands
// above this one.
func TestEveryClassHasASeries(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []connector.Class{connector.Transient, connector.Permanent, connector.Unavailable, connector.Throttled} {
		r.Attempt("TARGET", string(c))
		r.DeadLetter("TARGET", string(c))
	}
	for _, family := range []string{"policysync_attempts_total", "policysync_dead_letters_total"} {
		for labels := range r.series(t, family) {
			require.NotContains(t, labels, "unlisted", family)
		}
	}
}

func TestRecordingAllocatesNothing(t *testing.T) {
	r := newRig(t)
	record := func() {
		r.Attempt("TARGET", "success")
		r.Push("TARGET", time.Millisecond)
		r.Settled("TARGET", "delivered", time.Second)
		r.Settled("unknown", "delivered", time.Second)
		r.Decoded("TOPIC")
	}
	require.Zero(t, testing.AllocsPerRun(100, record))
}

func TestObserve(t *testing.T) {
	t.Parallel()
	lane := telemetry.LaneSnapshot{
		Topic: "TOPIC", Lag: 5, Deliveries: 10, WindowDeliveries: 100, Bytes: 300, WindowBytes: 1000,
	}
	empty := telemetry.LaneSnapshot{Topic: "TOPIC", Partition: 1, Lag: 2, WindowDeliveries: 100, WindowBytes: 1000}
	target := telemetry.TargetSnapshot{
		Target: "TARGET", Lanes: []telemetry.LaneSnapshot{lane, empty}, OldestWaiting: 3 * time.Second, Breaker: "open", Held: true, Fenced: true,
	}
	r := newRig(t)
	require.NoError(t, r.Observe(func() telemetry.Snapshot {
		return telemetry.Snapshot{Targets: []telemetry.TargetSnapshot{target}}
	}))
	for family, want := range map[string]map[string]float64{
		"policysync_lag":                    {"TARGET": 7},
		"policysync_partition_lag":          {"0/TARGET/TOPIC": 5, "1/TARGET/TOPIC": 2},
		"policysync_window_use_ratio":       {"TARGET": .3},
		"policysync_oldest_waiting_seconds": {"TARGET": 3},
		"policysync_breaker_state":          {"closed/TARGET": 0, "open/TARGET": 1, "half-open/TARGET": 0},
		"policysync_held":                   {"TARGET": 1},
		"policysync_fenced":                 {"TARGET": 1},
		"policysync_paused":                 {"TARGET": 0},
	} {
		require.Empty(t, cmp.Diff(want, r.series(t, family)), family)
	}

	target.Lanes = slices.Repeat([]telemetry.LaneSnapshot{empty}, 257)
	require.Equal(t, map[string]float64{"TARGET": 514}, r.series(t, "policysync_lag"))
	require.NotContains(t, r.families(t), "policysync_partition_lag")
}

// Autoscaling goes by it: a target that waits for itself must not add members.
func TestActionableLag(t *testing.T) {
	t.Parallel()
	lanes := []telemetry.LaneSnapshot{{Lag: 5, WindowDeliveries: 1, WindowBytes: 1}, {Lag: 2, WindowDeliveries: 1, WindowBytes: 1}}
	for name, c := range map[string]struct {
		target telemetry.TargetSnapshot
		want   float64
	}{
		"pushing":   {telemetry.TargetSnapshot{Breaker: "closed"}, 7},
		"open":      {telemetry.TargetSnapshot{Breaker: "open"}, 0},
		"half-open": {telemetry.TargetSnapshot{Breaker: "half-open"}, 0},
		"paused":    {telemetry.TargetSnapshot{Breaker: "closed", Paused: true}, 0},
		"held":      {telemetry.TargetSnapshot{Breaker: "closed", Held: true}, 0},
		"fenced":    {telemetry.TargetSnapshot{Breaker: "closed", Fenced: true}, 0},
		"throttled": {telemetry.TargetSnapshot{Breaker: "closed", Throttled: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.target.Target, c.target.Lanes = "TARGET", lanes
			r := newRig(t)
			require.NoError(t, r.Observe(func() telemetry.Snapshot {
				return telemetry.Snapshot{Targets: []telemetry.TargetSnapshot{c.target}}
			}))
			require.Equal(t, map[string]float64{"TARGET": c.want}, r.series(t, "policysync_actionable_lag"))
		})
	}
}

func TestMetricsDocument(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "console") // for the metric of dropped spans; no span is made
	r := newRig(t)
	r.Push("TARGET", time.Second)
	r.Settled("TARGET", "delivered", time.Second)
	r.Committed(time.Second, nil)
	r.Committed(time.Second, errors.New("fenced"))
	require.NoError(t, r.Observe(func() telemetry.Snapshot {
		return telemetry.Snapshot{Targets: []telemetry.TargetSnapshot{{
			Target: "TARGET",
			Lanes:  []telemetry.LaneSnapshot{{Topic: "TOPIC", WindowDeliveries: 1, WindowBytes: 1}},
		}}}
	}))
	got := describe(r.families(t))
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(got), 0o644))
	}
	want, err := os.ReadFile(document)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(string(want), got), "run: make generate")
}

// describe writes the reference of the metrics from what /metrics serves.
func describe(families map[string]*dto.MetricFamily) string {
	var b strings.Builder
	b.WriteString("# Metrics\n\n" +
		"What `/metrics` serves, and what OTLP exports under the same names with dots and without the suffixes\n" +
		"for unit and total. `make generate` writes this page from a running set-up; a test keeps it current.\n\n" +
		"A target or topic that the config lacks is counted as `unlisted`. Beside these there are the metrics of\n" +
		"the Go runtime and the process (`go_…`, `process_…`).\n\n" +
		"| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(families)) {
		f := families[name]
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), labels(f), f.GetHelp())
	}
	return b.String()
}

// labels lists the labels of a family with their values, where these are fixed.
func labels(f *dto.MetricFamily) string {
	values := map[string][]string{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if v := l.GetValue(); !slices.Contains(values[l.GetName()], v) {
				values[l.GetName()] = append(values[l.GetName()], v)
			}
		}
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		part := "`" + name + "`"
		if len(values[name]) > 1 {
			part += ": " + strings.Join(values[name], ", ")
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "<br>")
}
