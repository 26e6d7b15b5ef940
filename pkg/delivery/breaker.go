package delivery

import (
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
)

// errExcluded is what an attempt reports to the breaker when its outcome says
// nothing about the target: our own cancellation, a permanent failure, a
// transient one of a key that was counted already.
var errExcluded = errors.New("not counted")

// breaker is gobreaker's two-step breaker plus what it lacks: a wait between
// canaries that grows with jitter, and a time at which to ask again. All calls
// are made under the target's lock, so its own callbacks need none.
type breaker struct {
	two       *gobreaker.TwoStepCircuitBreaker[struct{}]
	settings  Breaker
	jitter    Jitter
	state     gobreaker.State
	openUntil time.Time
	openings  int // in a row, without a success between
	changed   func(from, to gobreaker.State)
}

func newBreaker(name string, s Breaker, j Jitter, changed func(from, to gobreaker.State)) *breaker {
	b := &breaker{settings: s, jitter: j, changed: changed}
	b.two = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         name,
		MaxRequests:  1,
		Interval:     s.Window,
		BucketPeriod: s.Window / 10,
		// Shorter than our own wait ever is, see openWait.
		Timeout: s.OpenFor / 3,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return int(c.Requests) >= s.MinRequests &&
				float64(c.TotalFailures) >= s.FailureRatio*float64(c.Requests)
		},
		IsExcluded:    func(err error) bool { return errors.Is(err, errExcluded) },
		OnStateChange: func(_ string, from, to gobreaker.State) { b.turn(from, to) },
	})
	return b
}

func (b *breaker) turn(from, to gobreaker.State) {
	b.state = to
	switch to {
	case gobreaker.StateOpen:
		b.openUntil = time.Now().Add(openWait(b.settings, b.openings, b.jitter))
		b.openings++
	case gobreaker.StateClosed:
		b.openings = 0
	case gobreaker.StateHalfOpen:
	}
	b.changed(from, to)
}

// openWait is the time between two canaries after n failed ones: open_for × 2^n up
// to open_max, spread evenly over ±50 % so that members do not probe in step.
func openWait(s Breaker, n int, j Jitter) time.Duration {
	wait := doubled(s.OpenFor, n, s.OpenMax)
	return wait/2 + j.draw(wait)
}

// allow asks for one attempt. It returns how to report the outcome and whether the
// attempt is a canary; or, with a nil report, when to ask again (zero: when the
// canary in flight has ended).
func (b *breaker) allow(now time.Time) (report func(error), canary bool, again time.Time) {
	// An attempt from before the opening that lands late turns gobreaker half-open
	// too early.
	if b.state != gobreaker.StateClosed && now.Before(b.openUntil) {
		return nil, false, b.openUntil
	}
	report, err := b.two.Allow()
	if err != nil {
		return nil, false, time.Time{}
	}
	return report, b.state == gobreaker.StateHalfOpen, time.Time{}
}
