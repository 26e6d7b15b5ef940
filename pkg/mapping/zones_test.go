package mapping

import (
	"fmt"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// What a timestamp is in a zone is what CEL says.
func TestTimestampsInAZoneAgreeWithCEL(t *testing.T) {
	t.Parallel()
	ours, err := baseEnv()
	require.NoError(t, err)
	standard, err := cel.NewEnv(cel.Variable("timestamp", cel.TimestampType))
	require.NoError(t, err)
	said := func(env *cel.Env, source string, at time.Time) string {
		ast, issues := env.Compile(source)
		require.NoError(t, issues.Err())
		program, err := env.Program(ast)
		require.NoError(t, err)
		v, _, err := program.Eval(map[string]any{"timestamp": at})
		return fmt.Sprint(v, err)
	}
	for function := range zoned {
		for _, zone := range []string{"America/New_York", "Asia/Kathmandu", "UTC", "", "-05:30", "5:45", "24:00", "a:b", "Mars/Base", "../UTC"} {
			for _, at := range []time.Time{{}, time.Date(1883, 11, 18, 12, 3, 57, 999e6, time.UTC), time.Date(2026, 11, 1, 5, 59, 59, 0, time.UTC)} {
				source := fmt.Sprintf("timestamp.%s(%q)", function, zone)
				require.Equal(t, said(standard, source, at), said(ours, source, at), "%s at %s", source, at)
			}
		}
	}
}

// A zone by name costs no more than an offset, for which nothing is read.
func TestZoneByNameIsReadOnce(t *testing.T) {
	s := schema(t)
	ev := testEvent(s)
	allocations := func(zone string) float64 {
		e := expr(fmt.Sprintf("event.at.getHours(%q)", zone))
		require.Empty(t, Compile(e, Decl{}, []*event.Schema{s}))
		return testing.AllocsPerRun(100, func() { _, _ = e.Eval(connector.Scope{Event: ev}) })
	}
	require.LessOrEqual(t, allocations("America/New_York"), allocations("-05:00"))
}
