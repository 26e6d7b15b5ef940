package delivery

import (
	"maps"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/telemetry"
)

// tally counts what has settled at a target since the process started, for the record
// by which the member tells how it is: the metrics can't be read back.
type tally struct {
	settled map[string]int64 // by outcome
	latency [len(telemetry.LatencyBounds) + 1]int64
}

// countSettled counts the end of a delivery. Since is the time from the record's
// timestamp, 0 if there was nothing to push.
func (t *Target) countSettled(outcome string, since time.Duration) {
	t.metrics.Settled(t.name, outcome, since)
	t.tally.settled[outcome]++
	if since > 0 {
		// The first bound that is not below it: bounds are inclusive.
		i, _ := slices.BinarySearch(telemetry.LatencyBounds[:], since.Seconds())
		t.tally.latency[i]++
	}
}

// show adds the counts to a snapshot.
func (y *tally) show(s *telemetry.TargetSnapshot) {
	s.Settled, s.Latency = maps.Clone(y.settled), slices.Clone(y.latency[:])
}
