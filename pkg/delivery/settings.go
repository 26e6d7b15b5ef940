// Package delivery carries events to targets. It owns the target (breaker, limit,
// retry, batches), its lanes (one per partition, with a queue per key) and the
// bookkeeping that says when a delivery has settled. It names no Kafka client and
// knows no connector: both reach it through small interfaces.
package delivery

import (
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Settings are what every target may set, whatever its connector. The tags name
// the keys and defaults of the config; a bound is inclusive.
type Settings struct {
	// Start is where the target begins when no checkpoint knows it: "now" (at the
	// highest cursor of the others), "earliest", a date or a time.
	Start Start `yaml:"start" default:"now"`
	// Deliver is "every": push each version; or "latest": a newer version, also one that
	// is still in the log, replaces one of its key that waits or backs off, so that after
	// an outage the target catches up by keys and not by events. It never sees what was
	// replaced.
	Deliver string `yaml:"deliver" default:"every" oneof:"every latest"`
	// Version is where versions come from: "event" or "offset". One source per
	// target, never per record.
	Version string `yaml:"version" default:"event" oneof:"event offset"`
	// Concurrency bounds the attempts in flight, over all partitions of the process.
	Concurrency int `yaml:"concurrency" default:"32" min:"1"`
	// Window bounds the unsettled deliveries of one lane.
	Window Window `yaml:"window"`
	// Timeout bounds one attempt.
	Timeout time.Duration `yaml:"timeout" default:"10s" min:"1ms"`
	Rate    Rate          `yaml:"rate"`
	Retry   Retry         `yaml:"retry"`
	Breaker Breaker       `yaml:"breaker"`
	Outage  Outage        `yaml:"outage"`
	Batch   Batch         `yaml:"batch"`
	CatchUp CatchUp       `yaml:"catch_up"`
}

// Window bounds what a lane holds in memory.
type Window struct {
	// Deliveries is their number, Bytes the memory that they take.
	Deliveries int             `yaml:"deliveries" default:"5000" min:"1"`
	Bytes      connector.Bytes `yaml:"bytes" default:"32MiB" min:"1"`
}

// Rate bounds the attempts per second of a target; 0 means no bound. Burst 0
// stands for one second's worth, at least 1.
type Rate struct {
	PerSecond float64 `yaml:"per_second" default:"0" min:"0"`
	Burst     int     `yaml:"burst" default:"0" min:"0"`
}

// Retry is exponential back-off with full jitter: the wait before attempt n+1 is
// drawn evenly from 0 to min(Max, Initial × 2^(n-1)).
type Retry struct {
	Initial     time.Duration `yaml:"initial" default:"200ms" min:"1ms"`
	Max         time.Duration `yaml:"max" default:"1m" min:"1ms"`
	MaxAttempts int           `yaml:"max_attempts" default:"8" min:"1"`
}

// Breaker opens when, of at least MinRequests within Window, FailureRatio failed.
// It stays open for OpenFor, twice as long after each failed canary up to OpenMax.
type Breaker struct {
	FailureRatio float64       `yaml:"failure_ratio" default:"0.5" min:"0.01" max:"1"`
	MinRequests  int           `yaml:"min_requests" default:"10" min:"1"`
	Window       time.Duration `yaml:"window" default:"30s" min:"1s"`
	OpenFor      time.Duration `yaml:"open_for" default:"5s" min:"1ms"`
	OpenMax      time.Duration `yaml:"open_max" default:"1m" min:"1ms"`
}

// Outage says how long a delivery to an unavailable target is held before it
// becomes a dead letter; 0 means for ever.
type Outage struct {
	DeadLetterAfter time.Duration `yaml:"dead_letter_after" default:"0s" min:"0s"`
}

// Batch bounds one call to a batch connector. The zero Size and Linger stand for
// the connector's own defaults.
type Batch struct {
	Size   int           `yaml:"size" default:"0" min:"0"`
	Linger time.Duration `yaml:"linger" default:"0s" min:"0s"`
}

// CatchUp bounds what the catch-up feeds of a target read in this process, over all
// partitions; 0 means no bound.
type CatchUp struct {
	MaxBytesPerSecond connector.Bytes `yaml:"max_bytes_per_second" default:"0" min:"0"`
}
