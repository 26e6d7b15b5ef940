package delivery

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// However many wait, a target in doubt is asked by one of them at a time, and by a
// single one where batches are the rule.
func TestOneCanaryAtATime(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"single": 1, "batches": 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTarget(func(s *Settings) {
					s.Batch.Size = size
					s.Breaker.MinRequests = 1
				}))
				c := r.targets[0]
				c.set(refused)
				r.publish("a")
				synctest.Wait()
				for i := range 50 {
					r.publish(fmt.Sprint(i))
				}
				before := len(c.tried())
				release := make(chan struct{})
				c.set(func(context.Context, *connector.Delivery) error { <-release; return nil })
				<-time.After(8 * time.Second) // at most 7.5 s, and less than the timeout
				synctest.Wait()
				require.Len(t, c.tried(), before+1)
				close(release)
				r.settlesAll(time.Minute)
			})
		})
	}
}

// After a success the first wait of the next outage is short again.
func TestBreakerForgetsItsOpenings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Breaker.MinRequests = 1 }))
		c := r.targets[0]
		c.set(refused)
		r.publish("a")
		<-time.After(time.Hour)
		c.set(accepted)
		r.settlesAll(2 * time.Minute)
		c.set(refused)
		r.publish("b")
		synctest.Wait()
		c.set(accepted)
		r.settlesAll(8 * time.Second)
	})
}

// An attempt of before the opening that lands late does not cut the wait.
func TestLateFailureBringsNoCanaryForward(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) {
			s.Breaker = Breaker{FailureRatio: 0.5, MinRequests: 1, Window: time.Hour, OpenFor: time.Minute, OpenMax: time.Minute}
			s.Timeout = time.Minute
		}))
		c := r.targets[0]
		c.set(func(ctx context.Context, d *connector.Delivery) error {
			if d.Key == "slow" {
				_ = pause(ctx, 25*time.Second)
			}
			return errUnavailable
		})
		r.publish("slow", "fast")
		<-time.After(29 * time.Second) // the earliest canary is at 30 s
		synctest.Wait()
		require.Len(t, c.tried(), 2)
	})
}

// What makes a target be held: over half of the last 20 keys that ended.
func TestHoldJudgesTheLastTwentyKeys(t *testing.T) {
	t.Parallel()
	type ended struct {
		times int
		how   ending
		key   string // "" stands for a new one each time
	}
	for name, tt := range map[string]struct {
		ended []ended
		held  bool
	}{
		"half":                       {[]ended{{10, endedForGood, ""}, {30, endedOther, ""}}, false},
		"over half":                  {[]ended{{9, endedOther, ""}, {11, endedForGood, ""}}, true},
		"one key":                    {[]ended{{50, endedForGood, "bad"}}, false},
		"long ago":                   {[]ended{{10, endedForGood, ""}, {20, endedOther, ""}, {10, endedForGood, ""}}, false},
		"one of them succeeded":      {[]ended{{1, endedWell, ""}, {19, endedForGood, ""}}, false},
		"the success was before":     {[]ended{{1, endedWell, ""}, {20, endedForGood, ""}}, true},
		"a success since":            {[]ended{{10, endedForGood, ""}, {1, endedWell, ""}, {10, endedForGood, ""}}, false},
		"released by a success":      {[]ended{{11, endedForGood, ""}, {1, endedWell, ""}}, false},
		"a key that got better":      {[]ended{{1, endedForGood, "a"}, {1, endedOther, "a"}, {10, endedForGood, ""}}, false},
		"attempts that came to none": {[]ended{{40, endedOther, ""}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hold{ratio: 0.5, changed: func(bool) {}}
			n := 0
			for _, e := range tt.ended {
				for range e.times {
					n++
					key := e.key
					if key == "" {
						key = fmt.Sprint("key", n)
					}
					h.note(key, e.how)
				}
			}
			require.Equal(t, tt.held, h.active)
		})
	}
}

// What was in flight when the hold began is held too. Canaries come one at a time, at
// growing distance, and a second hold begins with a short one again.
func TestHeldTargetIsAskedRarely(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := r.targets[0]
		hold := func(letters int) (tried int) {
			c.set(func(ctx context.Context, d *connector.Delivery) error {
				_ = pause(ctx, time.Second) // the first 32 are in flight together
				return invalid(ctx, d)
			})
			before := len(c.tried())
			for range 60 {
				r.publish(fmt.Sprint(r.next))
			}
			<-time.After(time.Minute)
			require.True(t, r.Snapshot().Targets[0].Held)
			require.Len(t, r.letters.all(), letters)
			tried = len(c.tried()) - before
			<-time.After(time.Hour)
			require.LessOrEqual(t, len(c.tried())-before-tried, 120, "one in 30 s to 90 s")
			c.set(accepted)
			r.settlesAll(2 * time.Minute)
			require.Len(t, r.letters.all(), letters)
			return tried
		}
		require.LessOrEqual(t, hold(10), 42+6, "canaries after some 5, 10, 20 and 40 s")
		require.GreaterOrEqual(t, hold(10+19), 51+3, "one success is among the last 20; then some 5 s again")
	})
}

// A delivery that ended for want of attempts says that the target is in trouble, not
// that it likes no policy.
func TestTransientLettersDoNotHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Retry.MaxAttempts = 1; s.Breaker.MinRequests = 1000 }))
		for round, err := range []error{errPermanent, errServer, errServer, errPermanent} {
			r.targets[0].set(func(context.Context, *connector.Delivery) error { return err })
			for range 10 {
				r.publish(fmt.Sprint(r.next))
			}
			r.settlesAll(time.Second)
			require.Len(t, r.letters.all(), 10*(round+1))
		}
	})
}

// A failure that lies further back than breaker.window says nothing any more.
func TestBreakerForgetsOldFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Breaker.MinRequests = 2 }))
		r.targets[0].set(failing(errServer, "a", "b"))
		r.publish("a")
		<-time.After(time.Minute)
		r.publish("b")
		<-time.After(time.Minute)
		synctest.Wait()
		require.Equal(t, "closed", r.Snapshot().Targets[0].Breaker)
		r.targets[0].set(failing(errServer, "c", "d"))
		r.publish("c", "d")
		synctest.Wait()
		require.Equal(t, "open", r.Snapshot().Targets[0].Breaker)
	})
}

// Waits are spread, so that neither keys nor members ask in step.
func TestWaitsAreSpread(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		draw      func() time.Duration
		from, end time.Duration
	}{
		"back-off": {func() time.Duration { return defaults().Retry.backoff(3, nil) }, 0, 800 * time.Millisecond},
		"canary":   {func() time.Duration { return openWait(defaults().Breaker, 1, nil) }, 5 * time.Second, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			low, high := tt.end, tt.from
			for range 1000 {
				d := tt.draw()
				low, high = min(low, d), max(high, d)
			}
			tenth := (tt.end - tt.from) / 10
			require.Less(t, low, tt.from+tenth)
			require.Greater(t, high, tt.end-tenth)
			require.True(t, low >= tt.from && high <= tt.end)
		})
	}
}

// A target that is down or held says why, and no longer once it is back.
func TestTargetSaysWhyItIsDown(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"breaker": errUnavailable, "hold": connector.AsPermanent(errors.New("no such path"))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTarget(func(s *Settings) { s.Breaker.MinRequests = 1 }))
				c := r.targets[0]
				c.set(func(context.Context, *connector.Delivery) error { return err })
				for i := range 2 * holdKeys {
					r.publish(fmt.Sprint(i))
				}
				<-time.After(time.Minute)
				synctest.Wait()
				require.ErrorContains(t, err, r.Snapshot().Targets[0].Failure)
				require.NotEmpty(t, r.Snapshot().Targets[0].Failure)
				c.set(accepted)
				r.settlesAll(10 * time.Minute)
				require.Empty(t, r.Snapshot().Targets[0].Failure)
			})
		})
	}
}

// Of a target that nobody doubts no back-off is cut, so a pump looks through none of
// them: there may be as many as the windows of all lanes hold, and a pump runs for each
// delivery.
func TestPumpLooksThroughNoBackOffs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		target := newRig(t).Targets[0]
		target.mu.Lock()
		defer target.mu.Unlock()
		target.backoff = waitHeap{nil} // which to look at would panic
		require.False(t, target.wantsCanary(time.Now()))
		target.backoff = nil
	})
}
