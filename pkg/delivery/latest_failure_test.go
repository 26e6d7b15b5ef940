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
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/mapping"
	"github.com/hms-sme/policysync/pkg/route"
)

// A key that changes often is not asked for more often while it backs off, and each
// version has all its attempts.
func TestLatestKeepsTheBackOffOfAKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) {
			latest(s)
			s.Retry = Retry{Initial: time.Second, Max: time.Minute, MaxAttempts: 3}
			s.Breaker.MinRequests, s.Breaker.Window = 2, time.Hour
		}))
		c := r.targets[0]
		c.set(failing(errServer, "hot"))
		for range 6000 { // ten minutes
			r.publish("hot")
			<-time.After(100 * time.Millisecond)
		}
		require.Less(t, len(c.tried()), 100, "some 20 waits of 30 s on average, after the first few")
		require.Empty(t, r.letters.all(), "no version was attempted three times")
		require.Equal(t, "closed", r.Snapshot().Targets[0].Breaker, "one key counts once")
		r.settlesAll(10 * time.Minute)
		letters := r.letters.all()
		require.Len(t, letters, 1, "the last one was")
		require.Equal(t, r.next-1, letters[0].Position.Offset)
		require.Equal(t, 3, letters[0].Attempts)
	})
}

// The version that failed is replaced by the one that came while it was in flight.
func TestLatestReplacesWhatComesBack(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"transient":   errServer,
		"unavailable": connector.AsUnavailable(errors.New("refused")),
		"throttled":   connector.AsThrottled(errors.New("unexpected status 429"), time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTarget(latest))
				c := r.targets[0]
				answer := make(chan error)
				c.set(func(context.Context, *connector.Delivery) error { return <-answer })
				r.push("a", "a")
				answer <- err
				synctest.Wait()
				require.Equal(t, int64(1), r.committable())
				close(answer)
				r.settlesAll(time.Minute)
				require.Equal(t, []int64{1}, c.offsets(""))
			})
		})
	}
}

// A delivery that failed for good becomes a letter, although a newer version waits: the
// letter says what was wrong with it. The newer one waits for the letter.
func TestLatestDeadLettersWhatFailedForGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(latest))
		r.letters.block = make(chan struct{})
		r.targets[0].set(func(ctx context.Context, d *connector.Delivery) error {
			if d.Event.Offset == 0 {
				return invalid(ctx, d)
			}
			return nil
		})
		r.push("a", "a", "a")
		require.Zero(t, r.committable())
		require.Empty(t, r.targets[0].offsets(""))
		close(r.letters.block)
		r.settlesAll(time.Second)
		require.Len(t, r.letters.all(), 1)
		require.Equal(t, []int64{2}, r.targets[0].offsets(""))
	})
}

// A held target keeps the newest version of each key, and its canaries carry it.
func TestLatestUnderAHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { latest(s); s.Concurrency = 1 }))
		c := r.targets[0]
		c.set(invalid)
		for round := range 30 {
			for i := range 30 {
				r.publish(fmt.Sprint(i))
			}
			<-time.After(time.Duration(round) * time.Minute)
		}
		synctest.Wait()
		require.True(t, r.Snapshot().Targets[0].Held)
		letters := len(r.letters.all())
		require.LessOrEqual(t, letters, 11)
		c.set(accepted)
		r.settlesAll(5 * time.Minute)
		require.Len(t, r.letters.all(), letters)
		require.Len(t, c.offsets(""), 30)
		for _, offset := range c.offsets("") {
			require.GreaterOrEqual(t, offset, r.next-30)
		}
	})
}

// What was cancelled, since another partition of its batch ended, is not attempted
// again if there is a newer version.
func TestLatestReplacesWhatWasCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { latest(s); s.Batch = Batch{Size: 2, Linger: time.Second} }))
		c := r.targets[0]
		c.set(func(ctx context.Context, d *connector.Delivery) error {
			if d.Event.Offset == 0 {
				return pause(ctx, 9*time.Second)
			}
			return nil
		})
		other, err := r.Assign(t.Context(), Assignment{Topic: "policies", TopicID: topicID, Partition: 1}, r.log)
		require.NoError(t, err)
		r.push("a")
		moved := record(0, "b")
		moved.Partition = 1
		other.Take([]*event.Record{moved}, 0, 1)
		synctest.Wait()
		require.Equal(t, 1, c.calls)
		r.push("a")
		other.Abort()
		r.settlesAll(5 * time.Second)
		require.Equal(t, []int64{1}, c.offsets(""))
	})
}

// An event of which it is not known whether the target wants it, since its filter does
// not compile, replaces nothing: it may turn out to be none of the target's. What
// waits for a mapping that compiles is replaced, and holds back no newer version.
func TestLatestAndWhatDoesNotCompile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(latest))
		r.Targets[0].prepare = prepareFunc(func(d *connector.Delivery) error {
			if d.Event.Offset == 0 {
				return &mapping.SchemaError{ID: 8, Err: errors.New("undefined field")}
			}
			return nil
		})
		r.push("a")
		r.push("a")
		require.Equal(t, []int64{1}, r.targets[0].offsets(""))

		release := make(chan struct{})
		r.targets[0].set(func(_ context.Context, d *connector.Delivery) error {
			if d.Key == "in flight" {
				<-release
			}
			return errServer
		})
		r.push("in flight", "backs off")
		r.Router = notCompiled{}
		r.push("in flight", "backs off")
		close(release)
		synctest.Wait()
		r.targets[0].set(accepted)
		<-time.After(time.Minute)
		synctest.Wait()
		require.ElementsMatch(t, []int64{1, 2, 3}, r.targets[0].offsets(""))
		require.Equal(t, int64(4), r.committable())
	})
}

type notCompiled struct{}

func (notCompiled) Route(*event.Event) route.Decision {
	return route.Decision{Targets: []route.Verdict{{Err: &mapping.SchemaError{ID: 9, Err: errors.New("undefined field")}}}}
}

// Whatever backs off can be the canary, also what took over a back-off.
func TestLatestCanaryIsTheNewestVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) {
			latest(s)
			s.Breaker.MinRequests = 1
			s.Retry.Initial, s.Retry.Max = time.Hour, time.Hour
		}))
		r.Targets[0].prepare = prepareFunc(func(*connector.Delivery) error { return nil })
		r.targets[0].set(refused)
		r.push("a")
		r.targets[0].set(accepted)
		r.push("a")
		r.settlesAll(10 * time.Second)
		require.Equal(t, []int64{1}, r.targets[0].offsets(""))
	})
}

// A canary of another key than the last is looked for among what waits, not among what
// was replaced there.
func TestLatestCanaryIsNotAReplacedVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) {
			latest(s)
			s.Breaker = Breaker{FailureRatio: 0.5, MinRequests: 1, Window: time.Hour, OpenFor: 10 * time.Second, OpenMax: 10 * time.Second}
			s.Retry.Initial, s.Retry.Max = time.Millisecond, time.Millisecond
		}))
		r.targets[0].set(refused)
		r.push("poison")
		<-time.After(16 * time.Second) // it was the canary, and is ready again
		r.push("x", "y", "x")
		<-time.After(16 * time.Second)
		require.Greater(t, len(r.targets[0].tried()), 2)
		for _, a := range r.targets[0].tried() {
			require.NotEqual(t, int64(1), a.offset)
		}
	})
}
