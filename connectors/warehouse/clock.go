package warehouse

import (
	"sync"
	"time"
)

// clock tells the time of ingestion. Of two rows with one source position the
// engine keeps the one ingested last, so no two may have the same time.
type clock struct {
	// mu guards last: two batches that read the time together would else share it.
	mu   sync.Mutex
	last time.Time
}

// next takes n consecutive microseconds and returns the first.
func (c *clock) next(n int) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := time.Now().UTC().Truncate(time.Microsecond)
	if !first.After(c.last) {
		first = c.last.Add(time.Microsecond)
	}
	c.last = first.Add(time.Duration(n-1) * time.Microsecond)
	return first
}
