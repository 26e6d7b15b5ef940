// Package allocs compares how often the stages of a delivery allocate with what was
// recorded, so that a change which costs more is seen where it is made. Times drift
// with the machine; this number does not.
package allocs

import (
	_ "embed"
	"encoding/json"
	"testing"
)

//go:embed allocs.json
var recorded []byte

// Check fails the test if the stage allocates more often, per delivery, than
// allocs.json says. Put a lower number there when one is reached; a higher one is a
// decision to be told in the commit.
func Check(t *testing.T, stage string, perDelivery float64) {
	t.Helper()
	most := map[string]float64{}
	if err := json.Unmarshal(recorded, &most); err != nil {
		t.Fatalf("read allocs.json: %v", err)
	}
	limit, ok := most[stage]
	if t.Logf("%s: %.0f allocations, recorded %.0f", stage, perDelivery, limit); !ok || perDelivery > limit {
		t.Errorf("%s allocates %.0f times per delivery, more than the %.0f of bench/allocs/allocs.json", stage, perDelivery, limit)
	}
}
