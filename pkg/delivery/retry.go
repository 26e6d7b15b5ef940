package delivery

import (
	"math/rand/v2"
	"time"
)

// throttleMax caps what a target may ask for by Retry-After: longer is more likely
// a mistake than a wish.
const throttleMax = 10 * time.Minute

// Jitter draws a wait, evenly from 0 to below (exclusive). Nil draws from math/rand;
// a simulation that wants its seed to repeat has its own. It is safe for concurrent
// use.
type Jitter func(below time.Duration) time.Duration

func (j Jitter) draw(below time.Duration) time.Duration {
	if j == nil {
		return rand.N(below)
	}
	return j(below)
}

// backoff draws the wait before attempt n+1 (n ≥ 1): evenly from 0 to
// min(max, initial × 2^(n-1)), known as full jitter.
func (r Retry) backoff(n int, j Jitter) time.Duration {
	return j.draw(doubled(r.Initial, n-1, r.Max) + 1)
}

// doubled is d × 2^n, at most ceiling.
func doubled(d time.Duration, n int, ceiling time.Duration) time.Duration {
	for ; n > 0 && d < ceiling; n-- {
		d *= 2
	}
	return min(d, ceiling)
}
