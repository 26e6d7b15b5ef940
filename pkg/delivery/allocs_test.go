//go:build !race

package delivery

import (
	"testing"

	"github.com/hms-sme/policysync/bench/allocs"
)

// From the record to the settled delivery with its receipt, without decoding,
// mapping and pushing.
func TestAllocations(t *testing.T) {
	const runs, each = 20, 1000
	records := manyRecords((1 + runs) * each) // AllocsPerRun warms up once
	deliver, end := startEngine(t, true, int64(len(records)))
	n := 0
	perRun := testing.AllocsPerRun(runs, func() {
		deliver(records[n : n+each])
		n += each
	})
	end()
	allocs.Check(t, "deliver", float64(int(perRun/each)))
}
