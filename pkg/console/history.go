package console

import (
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/receipt"
)

// keptSamples bounds the history: half an hour at one every two seconds.
const keptSamples = 900

// history is what the plots show, the oldest first.
type history []Sample

// Sample is one point of the plots.
type Sample struct {
	Time    time.Time     `json:"time"`
	Targets []SampleState `json:"targets"`
}

// SampleState is a target at one time.
type SampleState struct {
	Target    string  `json:"target"`
	State     string  `json:"state"`
	Lag       int64   `json:"lag"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_seconds"`
	P99       float64 `json:"p99_seconds"`
}

func (h *history) add(s *Snapshot) {
	sample := Sample{Time: s.Time, Targets: make([]SampleState, len(s.Targets))}
	for i, t := range s.Targets {
		sample.Targets[i] = SampleState{t.Target, t.State, t.Lag, t.PerSecond, t.P50, t.P99}
	}
	if len(*h) == keptSamples {
		*h = slices.Delete(*h, 0, 1)
	}
	*h = append(*h, sample)
}

// clone can be read while h grows: samples never change.
func (h *history) clone() history { return append(history{}, *h...) }

// rates are how fast members settle deliveries, from two records of each.
type rates map[string]*memberRate

type memberRate struct{ before, now *receipt.Member }

// see takes what a member tells; the same record again changes nothing.
func (r rates) see(m *receipt.Member) {
	known := r[m.ID]
	switch {
	case known == nil:
		r[m.ID] = &memberRate{now: m}
	case m.Time.After(known.now.Time):
		known.before, known.now = known.now, m
	}
}

// keep forgets the members that are gone.
func (r rates) keep(members []receipt.Member) {
	for id := range r {
		if !slices.ContainsFunc(members, func(m receipt.Member) bool { return m.ID == id }) {
			delete(r, id)
		}
	}
}

// of is what the members together settle of a target: how many a second, and the median
// and 99th percentile of their latency in seconds, -1 if none did.
func (r rates) of(target string) (perSecond, p50, p99 float64) {
	var sum receipt.Histogram
	for _, m := range r {
		if m.before == nil {
			continue
		}
		was, is := m.before.Targets[target], m.now.Targets[target]
		var settled int64
		for outcome, n := range is.Settled {
			settled += n - was.Settled[outcome]
		}
		perSecond += float64(settled) / m.now.Time.Sub(m.before.Time).Seconds()
		if len(is.Latency.Counts) != len(was.Latency.Counts) {
			continue
		}
		if sum.Counts == nil {
			sum = receipt.Histogram{Bounds: is.Latency.Bounds, Counts: make([]int64, len(is.Latency.Counts))}
		}
		if !slices.Equal(sum.Bounds, is.Latency.Bounds) {
			continue // of another release
		}
		for i, n := range is.Latency.Counts {
			sum.Counts[i] += n - was.Latency.Counts[i]
		}
	}
	return perSecond, quantile(&sum, 0.5), quantile(&sum, 0.99)
}

// quantile takes the latencies of a bucket for evenly spread; what lies above the last
// bound counts as that.
func quantile(h *receipt.Histogram, q float64) float64 {
	var all int64
	for _, n := range h.Counts {
		all += n
	}
	if all == 0 {
		return -1
	}
	rank, seen, low := q*float64(all), 0.0, 0.0
	for i, high := range h.Bounds {
		n := float64(h.Counts[i])
		if seen+n >= rank {
			return low + (high-low)*(rank-seen)/n
		}
		seen, low = seen+n, high
	}
	return low
}
