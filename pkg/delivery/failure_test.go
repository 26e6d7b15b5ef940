package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/mapping"
)

func refused(context.Context, *connector.Delivery) error {
	return connector.AsUnavailable(errors.New("connection refused"))
}

func invalid(context.Context, *connector.Delivery) error {
	return connector.AsPermanent(errors.New("unexpected status 422"))
}

func accepted(context.Context, *connector.Delivery) error { return nil }

// failing returns an answer that fails the given keys with err and takes the others.
func failing(err error, keys ...string) func(context.Context, *connector.Delivery) error {
	return func(_ context.Context, d *connector.Delivery) error {
		if slices.Contains(keys, d.Key) {
			return err
		}
		return nil
	}
}

// An outage, however long, dead-letters nothing, does not hammer the target, and
// ends soon after the target is back.
func TestOutageDeadLettersNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := r.targets[0]
		c.set(refused)
		for i := range 200 {
			r.publish(fmt.Sprintf("k%d", i%50))
		}
		<-time.After(time.Hour)
		synctest.Wait()
		require.Equal(t, "open", r.Snapshot().Targets[0].Breaker)
		require.Empty(t, r.letters.all())
		require.Less(t, len(c.tried()), 200, "an hour of canaries, at most one in 30 s")
		c.set(accepted)
		r.settlesAll(2 * time.Minute)
		require.Len(t, c.offsets(""), 200)
		c.inOrder(t)
		require.Empty(t, r.letters.all())
	})
}

func TestCanariesWaitLongerEachTime(t *testing.T) {
	t.Parallel()
	for n, want := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		for range 100 {
			got := openWait(defaults().Breaker, n, nil)
			require.InDelta(t, want.Seconds(), got.Seconds(), want.Seconds()/2, "after %d failed canaries", n)
		}
	}
}

// A poison record whose canary fails must not keep the target down: the next
// canary is of another key, also if only the poison is ready.
func TestPoisonRecordCannotHoldTheTargetDown(t *testing.T) {
	t.Parallel()
	overload := &connector.Error{Class: connector.Throttled, After: time.Second, Overload: true, Err: errors.New("unexpected status 503")}
	for range 8 { // which of the two backs off longer is chance
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, withTarget(func(s *Settings) {
				s.Breaker = Breaker{FailureRatio: 0.5, MinRequests: 2, Window: time.Hour, OpenFor: 10 * time.Second, OpenMax: 10 * time.Second}
				s.Retry.Initial, s.Retry.Max = 30*time.Minute, time.Hour
			}))
			c := r.targets[0]
			c.set(refused)
			r.publish("poison", "good")
			synctest.Wait()
			require.Equal(t, "open", r.Snapshot().Targets[0].Breaker)
			c.set(failing(overload, "poison"))
			<-time.After(31 * time.Second) // two canaries, at the latest 15 s apart
			synctest.Wait()
			require.Equal(t, []int64{1}, c.offsets(""))
		})
	}
}

func TestTransientFailureBecomesALetterAfterItsAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Retry.MaxAttempts = 3 }))
		c := r.targets[0]
		c.set(func(_ context.Context, d *connector.Delivery) error {
			if d.Event.Offset == 0 {
				return errServer
			}
			return nil
		})
		r.publish("a", "a", "b")
		r.settlesAll(time.Minute)
		letters := r.letters.all()
		require.Len(t, letters, 1)
		require.Equal(t, 3, letters[0].Attempts)
		require.Equal(t, "transient", letters[0].Class)
		require.Equal(t, topicID.String()+"/0/0/target0", letters[0].ID)
		require.ElementsMatch(t, []int64{1, 2}, c.offsets(""), "the later version goes on")
	})
}

// Promise 1: a letter that the broker has not acknowledged moves no offset.
func TestLetterIsAcknowledgedBeforeItsOffsetSettles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.targets[0].set(failing(connector.AsPermanent(errors.New("unexpected status 422")), "bad"))
		r.letters.block = make(chan struct{})
		r.publish("bad", "bad", "good")
		<-time.After(time.Minute)
		synctest.Wait()
		require.Zero(t, r.committable())
		require.Len(t, r.targets[0].tried(), 2, "bad once and good: the second version waits for the letter")
		close(r.letters.block)
		r.settlesAll(time.Minute)
		require.Len(t, r.letters.all(), 2)
	})
}

// What looks like an outage is not one if other keys get through.
func TestPoisonPayloadCannotHideAsAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Breaker.FailureRatio = 1 }))
		c := r.targets[0]
		c.set(failing(connector.AsUnavailable(context.DeadlineExceeded), "poison"))
		for i := range 600 {
			r.publish("poison", fmt.Sprint("good", i))
			<-time.After(time.Second)
		}
		synctest.Wait()
		require.NotEmpty(t, r.letters.all())
		require.Len(t, c.offsets(""), 600)
	})
}

func TestOutageDeadLettersAfterItsTimeIfAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Outage.DeadLetterAfter = 10 * time.Minute }))
		r.targets[0].set(refused)
		r.publish("a")
		<-time.After(9 * time.Minute)
		synctest.Wait()
		require.Empty(t, r.letters.all())
		r.settlesAll(3 * time.Minute)
		require.Len(t, r.letters.all(), 1)
	})
}

// Retry-After holds the whole target, spends no attempt and opens no breaker.
func TestThrottledTargetWaitsAsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Retry.MaxAttempts = 1; s.Concurrency = 1 }))
		c := r.targets[0]
		began := time.Now()
		c.set(func(context.Context, *connector.Delivery) error {
			if time.Since(began) < 90*time.Second {
				return connector.AsThrottled(errors.New("unexpected status 429"), 30*time.Second)
			}
			return nil
		})
		r.publish("a", "b", "c", "d")
		<-time.After(10 * time.Second)
		synctest.Wait()
		require.True(t, r.Snapshot().Targets[0].Throttled)
		r.settlesAll(2 * time.Minute)
		require.False(t, r.Snapshot().Targets[0].Throttled)
		require.Len(t, c.tried(), 3+4, "one attempt each 30 s, then all")
		require.Empty(t, r.letters.all())
		require.Equal(t, "closed", r.Snapshot().Targets[0].Breaker)
	})
}

// A wrong path makes every policy look bad. The hold keeps them from the dead
// letters, lets canaries through, and ends with the first success.
func TestManyPermanentFailuresHoldTheTarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Concurrency = 1 }))
		c := r.targets[0]
		c.set(invalid)
		for i := range 100 {
			r.publish(fmt.Sprint(i))
		}
		<-time.After(time.Hour)
		synctest.Wait()
		require.Len(t, r.letters.all(), 10, "over half of 20 keys is 11, and the 11th holds")
		require.Less(t, len(c.tried()), 200)
		c.set(accepted)
		r.settlesAll(2 * time.Minute)
		require.Len(t, c.offsets(""), 90)
		require.Len(t, r.letters.all(), 10)

		c.set(invalid) // a second hold works like the first
		for i := range 100 {
			r.publish(fmt.Sprint("again", i))
		}
		<-time.After(time.Hour)
		c.set(accepted)
		r.settlesAll(2 * time.Minute)
	})
}

func TestBadPoliciesAmongGoodOnesDoNotHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.targets[0].set(func(ctx context.Context, d *connector.Delivery) error {
			if d.Event.Offset%4 != 0 {
				return invalid(ctx, d)
			}
			return nil
		})
		for i := range 100 {
			r.publish(fmt.Sprint(i))
			synctest.Wait()
		}
		r.settlesAll(time.Minute)
		require.Len(t, r.letters.all(), 75)
	})
}

// prepareFunc is a connector's Prepare alone.
type prepareFunc func(*connector.Delivery) error

func (f prepareFunc) Prepare(d *connector.Delivery) error { return f(d) }

// A mapping that does not compile for a schema holds the event, since the event is
// not to blame; a failure of the event's own values is a dead letter.
func TestUncompiledMappingHoldsAndBadValuesDoNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var mended atomic.Bool
		r.Targets[0].prepare = prepareFunc(func(d *connector.Delivery) error {
			switch {
			case d.Key == "new schema" && !mended.Load():
				return &mapping.SchemaError{ID: 8, Err: errors.New("undefined field")}
			case d.Key == "bad value":
				return errors.New("map.title: no such key")
			}
			return nil
		})
		r.publish("new schema", "bad value", "good")
		<-time.After(24 * time.Hour)
		synctest.Wait()
		require.Equal(t, []int64{2}, r.targets[0].offsets(""))
		letters := r.letters.all()
		require.Len(t, letters, 1)
		require.Equal(t, "map: map.title: no such key", letters[0].Error)
		require.Zero(t, r.committable())
		mended.Store(true)
		r.settlesAll(2 * time.Minute)
	})
}

func TestPanicIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Retry.MaxAttempts = 2 }))
		r.targets[0].set(func(context.Context, *connector.Delivery) error { panic("nil map") })
		r.publish("a")
		r.settlesAll(time.Minute)
		letters := r.letters.all()
		require.Len(t, letters, 1)
		require.Equal(t, 2, letters[0].Attempts)
		require.Contains(t, letters[0].Error, "nil map")
		require.Contains(t, letters[0].Error, "failure_test.go", "the stack")
	})
}

func TestTimeoutIsUnavailable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.targets[0].set(func(ctx context.Context, _ *connector.Delivery) error {
			<-ctx.Done()
			return fmt.Errorf("post rule: %w", ctx.Err())
		})
		r.publish("a")
		<-time.After(time.Hour)
		synctest.Wait()
		require.Empty(t, r.letters.all())
		tried := r.targets[0].tried()
		require.GreaterOrEqual(t, tried[1].at.Sub(tried[0].at), 10*time.Second)
	})
}

func TestRateBoundsAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Rate = Rate{PerSecond: 10, Burst: 5} }))
		began := time.Now()
		for i := range 55 {
			r.publish(fmt.Sprint(i))
		}
		r.settlesAll(time.Minute)
		require.InDelta(t, 5, time.Since(began).Seconds(), 0.2)
	})
}

// One letter for a record that nobody can read, however many targets there are.
func TestUndecodableRecordIsOneLetter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil))
		r.publish("a", "garbage", "b")
		r.settlesAll(time.Second)
		letters := r.letters.all()
		require.Len(t, letters, 1)
		require.Equal(t, topicID.String()+"/0/1", letters[0].ID)
		require.Empty(t, letters[0].Target)
		require.ElementsMatch(t, []int64{0, 2}, r.targets[1].offsets(""))
	})
}

func TestRegistryOutageIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.publish("a", "registry-down", "b")
		<-time.After(30 * time.Second)
		synctest.Wait()
		require.Equal(t, []int64{0}, r.targets[0].offsets(""))
		r.settlesAll(2 * time.Minute)
		require.ElementsMatch(t, []int64{0, 1, 2}, r.targets[0].offsets(""))
		require.Empty(t, r.letters.all())
	})
}

// Letters of records that nobody can read take no room of what was pushed: among many
// that wait, a checkpoint still records each push, and no restart repeats one.
func TestLettersTakeNoRoomOfPushes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := newRig(t, logTo(&out))
		c := r.targets[0]
		c.set(func(ctx context.Context, d *connector.Delivery) error {
			if d.Event.Offset%10 == 0 {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		for i := range 200 {
			r.publish(fmt.Sprint(i), "garbage")
		}
		synctest.Wait()
		for i := range 3000 {
			r.publish(fmt.Sprint("waits", i), "garbage")
		}
		synctest.Wait()
		offset, meta := r.checkpoint()
		require.Len(t, r.letters.all(), 3200)
		require.NotContains(t, out.String(), "checkpoint has no room")
		cp, err := checkpoint.Decode(meta, offset, topicID)
		require.NoError(t, err)
		for _, pushed := range c.offsets("") {
			require.True(t, cp.Lanes[0].Cursor.Settled(pushed), "offset %d", pushed)
		}
	})
}
