package sql

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// One long value takes its own room, not that of a batch of such. No other test runs
// beside this one, which counts what is allocated.
func TestArrayTakesNoMoreThanItsValues(t *testing.T) {
	rows := make([][]any, 1000)
	for i := range rows {
		rows[i] = []any{"short"}
	}
	rows[0], rows[1], rows[2] = []any{strings.Repeat("x", 1<<20)}, []any{nil}, []any{`"\`}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	literal := array(rows, 0)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2<<20))
	require.Equal(t, `{"`+rows[0][0].(string)+`",NULL,"\"\\"`+strings.Repeat(`,"short"`, 997)+`}`, literal)
}
