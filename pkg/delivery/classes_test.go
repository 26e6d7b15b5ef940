package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/mapping"
)

var (
	errPermanent   = connector.AsPermanent(errors.New("unexpected status 422"))
	errUnavailable = connector.AsUnavailable(errors.New("connection refused"))
	errQuota       = connector.AsThrottled(errors.New("unexpected status 429"), time.Second)
	errOverload    = &connector.Error{Class: connector.Throttled, After: time.Second, Overload: true, Err: errors.New("unexpected status 503")}
	errNewSchema   = &mapping.SchemaError{ID: 8, Err: errors.New("undefined field")}
)

// Only what is the target's trouble opens its breaker, and a key that fails again and
// again by itself does so only if the target could not be reached.
func TestWhatOpensTheBreaker(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err       error
		keys      int
		inMapping bool
		opens     bool
	}{
		"permanent":            {err: errPermanent, keys: 8},
		"values":               {err: errors.New("no such key"), keys: 8, inMapping: true},
		"new schema":           {err: errNewSchema, keys: 8, inMapping: true},
		"transient":            {err: connector.AsTransient(errServer), keys: 8, opens: true},
		"unmarked":             {err: errServer, keys: 8, opens: true},
		"transient, one key":   {err: errServer, keys: 1},
		"unavailable, one key": {err: errUnavailable, keys: 1, opens: true},
		"429":                  {err: errQuota, keys: 8},
		"503 with Retry-After": {err: errOverload, keys: 8, opens: true},
		"503 and only one key": {err: errOverload, keys: 1, opens: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTarget(func(s *Settings) { s.Breaker.MinRequests, s.Breaker.Window = 5, 24*time.Hour }))
				if tt.inMapping {
					r.Targets[0].prepare = prepareFunc(func(*connector.Delivery) error { return tt.err })
				}
				r.targets[0].set(func(context.Context, *connector.Delivery) error { return tt.err })
				for i := range tt.keys {
					r.publish(fmt.Sprint(i))
				}
				<-time.After(10 * time.Minute)
				synctest.Wait()
				require.Equal(t, tt.opens, r.Snapshot().Targets[0].Breaker != "closed")
			})
		})
	}
}

// An answer closes a half-open breaker, also one that does not like the delivery; no
// answer, or one of trouble, opens it again. The canary spends no attempt.
func TestWhatAHalfOpenBreakerMakesOfAnAnswer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer error
		closes bool
	}{
		"success":              {nil, true},
		"permanent":            {errPermanent, true},
		"429":                  {errQuota, true},
		"503 with Retry-After": {errOverload, false},
		"transient":            {errServer, false},
		"unavailable":          {errUnavailable, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTarget(func(s *Settings) {
					s.Breaker = Breaker{FailureRatio: 0.5, MinRequests: 1, Window: time.Hour, OpenFor: 10 * time.Second, OpenMax: time.Minute}
					s.Retry.MaxAttempts = 1
				}))
				c := r.targets[0]
				c.set(refused)
				r.publish("a")
				synctest.Wait()
				require.Equal(t, "open", r.Snapshot().Targets[0].Breaker)
				answered := make(chan struct{})
				c.set(func(context.Context, *connector.Delivery) error {
					c.set(func(ctx context.Context, _ *connector.Delivery) error { <-ctx.Done(); return ctx.Err() })
					close(answered)
					return tt.answer
				})
				<-answered
				synctest.Wait()
				require.Equal(t, tt.closes, r.Snapshot().Targets[0].Breaker == "closed")
				if name != "permanent" {
					require.Empty(t, r.letters.all())
				}
			})
		})
	}
}

// Retry-After is obeyed up to ten minutes, and a shorter one that comes later does not
// end a longer one.
func TestRetryAfterIsBounded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ first, second, waits time.Duration }{
		"longest":      {24 * time.Hour, time.Second, 10 * time.Minute},
		"then shorter": {time.Minute, time.Second, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				c := r.targets[0]
				began := time.Now()
				c.set(func(ctx context.Context, d *connector.Delivery) error {
					switch {
					case d.Attempt > 1:
						return nil
					case d.Key == "first":
						return connector.AsThrottled(errors.New("unexpected status 429"), tt.first)
					}
					_ = pause(ctx, 100*time.Millisecond)
					return connector.AsThrottled(errors.New("unexpected status 429"), tt.second)
				})
				r.publish("first", "second")
				r.settlesAll(time.Hour)
				require.Equal(t, tt.waits, c.tried()[2].at.Sub(began))
			})
		})
	}
}

// A target that asks to slow down without saying for how long is backed off from.
func TestThrottledWithoutRetryAfterBacksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := r.targets[0]
		c.set(func(context.Context, *connector.Delivery) error {
			return connector.AsThrottled(errors.New("unexpected status 429"), 0)
		})
		r.publish("a")
		<-time.After(10 * time.Minute)
		synctest.Wait()
		require.InDelta(t, 25, len(c.tried()), 24)
		require.Empty(t, r.letters.all())
	})
}

// One timeout among successes of others is no poison yet: it is the delivery's first.
func TestFirstTimeoutIsUnavailable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Retry.MaxAttempts = 1; s.Breaker.FailureRatio = 1 }))
		c := r.targets[0]
		r.publish("good")
		synctest.Wait()
		c.set(func(_ context.Context, d *connector.Delivery) error {
			if d.Attempt == 1 {
				return errUnavailable
			}
			return nil
		})
		r.publish("slow")
		r.settlesAll(time.Minute)
		require.Empty(t, r.letters.all())
	})
}

// The success of an earlier version of the key, or of the same key on another
// partition, does not tell a poison payload from an outage.
func TestSuccessOfAnotherKey(t *testing.T) {
	t.Parallel()
	var s successes
	require.False(t, s.otherSince("a", 0))
	s.add("a")
	require.False(t, s.otherSince("a", 0))
	require.True(t, s.otherSince("b", 0))
	require.False(t, s.otherSince("b", 1))
	s.add("b")
	s.add("a")
	require.True(t, s.otherSince("a", 1))
	require.False(t, s.otherSince("a", 2))
}

// A mapping that does not compile is reported once per schema, however many wait.
func TestUncompiledMappingIsReportedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := newRig(t, logTo(&out))
		r.Targets[0].prepare = prepareFunc(func(*connector.Delivery) error { return errNewSchema })
		r.publish("a", "b", "c")
		<-time.After(time.Hour)
		synctest.Wait()
		require.Equal(t, 1, strings.Count(out.String(), "mapping does not compile"))
		require.Empty(t, r.letters.all())
	})
}

// A panic while the document is made comes from the event's values.
func TestPanicInPrepareIsALetter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.Targets[0].prepare = prepareFunc(func(*connector.Delivery) error { panic("nil map") })
		r.publish("a")
		r.settlesAll(time.Second)
		letters := r.letters.all()
		require.Len(t, letters, 1)
		require.Equal(t, "permanent", letters[0].Class)
		require.Contains(t, letters[0].Error, "nil map")
		require.Contains(t, letters[0].Error, "classes_test.go", "the stack")
	})
}

// A connector that knows why it ran out of time is believed.
func TestTimeoutKeepsTheClassOfTheConnector(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.targets[0].set(func(ctx context.Context, _ *connector.Delivery) error {
			<-ctx.Done()
			return connector.AsPermanent(ctx.Err())
		})
		r.publish("a")
		r.settlesAll(time.Minute)
		require.Len(t, r.letters.all(), 1)
	})
}

// The outage that outage.dead_letter_after counts ends with an answer, of whatever kind.
func TestOutageBeginsAnewAfterAnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) {
			s.Outage.DeadLetterAfter = 10 * time.Minute
			s.Retry.MaxAttempts = 1000
			s.Breaker.MinRequests = 1000
		}))
		c := r.targets[0]
		c.set(refused)
		r.publish("a")
		<-time.After(9 * time.Minute)
		c.set(func(context.Context, *connector.Delivery) error { return errServer })
		<-time.After(5 * time.Minute)
		c.set(refused)
		<-time.After(9 * time.Minute)
		synctest.Wait()
		require.Empty(t, r.letters.all())
		<-time.After(5 * time.Minute)
		synctest.Wait()
		require.Len(t, r.letters.all(), 1)
		require.Equal(t, "unavailable", r.letters.all()[0].Class)
	})
}

// An answer that the target holds a newer version settles as stale.
func TestStaleIsAnOutcomeOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.Targets[0].conn = stale{}
		r.publish("a")
		r.settlesAll(time.Second)
		require.Equal(t, map[string]int64{"stale": 1}, r.Snapshot().Targets[0].Settled)
	})
}

// stale is a target that has a newer version of everything.
type stale struct{}

func (stale) Push(context.Context, *connector.Delivery) (connector.Receipt, error) {
	return connector.Receipt{Stale: true}, nil
}

func (stale) Close(context.Context) error { return nil }

// While there is room in the checkpoint, a restart does not write again the letter of a
// record above one that waits.
func TestRestartWritesNoSecondLetter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.targets[0].set(refused)
		r.publish("waits", "garbage")
		synctest.Wait()
		require.Len(t, r.letters.all(), 1)
		offset, meta := r.checkpoint()
		again := newRig(t, resumeFrom(offset, meta))
		again.publish("waits", "garbage")
		again.settlesAll(time.Second)
		require.Empty(t, again.letters.all())
	})
}
