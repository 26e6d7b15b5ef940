package simulation

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/pkg/telemetry"
)

// One processor runs the goroutines of a bubble in nearly one order, and faster.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	goleak.VerifyTestMain(m)
}

// number reads a number from the environment.
func number(t *testing.T, name string, unset int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return unset
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// tail is how many lines of its story a failure tells.
var tail = 60

// The engine keeps its promises whatever befalls it. SEED=n runs one seed and tells
// all of its story; SEEDS=n runs that many, and FROM=n begins with another one.
func TestEngineKeepsItsPromises(t *testing.T) {
	runSeeds(t, seeds, "make simulate", func(s seed, metrics *telemetry.Metrics, tracer *telemetry.Tracer) simulated {
		return newWorld(planOf(s), metrics, tracer)
	})
}

// simulated is one schedule that can be run, and its story.
type simulated interface {
	run() error
	tale() string
}

// runSeeds runs so many seeds, unless the environment says otherwise; command repeats one.
func runSeeds(t *testing.T, count int, command string, open func(seed, *telemetry.Metrics, *telemetry.Tracer) simulated) {
	t.Helper()
	from, n := number(t, "FROM", 1), number(t, "SEEDS", count)
	if one := number(t, "SEED", 0); one > 0 {
		from, n, tail = one, 1, 1<<30
	}
	metrics, err := telemetry.NewMetrics(metricnoop.NewMeterProvider(), nil, nil)
	require.NoError(t, err)
	tracer := telemetry.NewTracer(tracenoop.NewTracerProvider(), "group")
	for s := from; s < from+n && !t.Failed(); s++ {
		synctest.Test(t, func(t *testing.T) {
			w := open(seed(s), metrics, tracer)
			err := w.run()
			require.NoError(t, err, "repeat with: %s SEED=%d\n%s", command, s, w.tale())
		})
	}
}
