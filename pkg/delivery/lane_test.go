package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/route"
)

var errServer = errors.New("unexpected status 500")

// Promise 2: retries never let a later version of a key pass an earlier one, and
// different keys run side by side.
func TestLaneKeepsOrderPerKeyUnderRetry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) {
			s.Retry.MaxAttempts = 1000
			s.Breaker.FailureRatio = 1
		}))
		c := r.targets[0]
		c.set(sometimes(0.4, errServer))
		for range 600 {
			r.publish(fmt.Sprintf("k%d", rand.N(20)))
		}
		r.settlesAll(time.Hour)
		require.Len(t, c.offsets(""), 600)
		c.inOrder(t)
		require.Empty(t, r.letters.all())
	})
}

func TestLaneRunsKeysInParallelUpToConcurrency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Concurrency = 3 }))
		release := make(chan struct{})
		r.targets[0].set(func(context.Context, *connector.Delivery) error { <-release; return nil })
		r.publish("a", "a", "b", "c", "d", "")
		synctest.Wait()
		require.Len(t, r.targets[0].tried(), 3, "one each of a, b and c")
		close(release)
		r.settlesAll(time.Second)
		r.targets[0].inOrder(t)
	})
}

// Promise 1: nothing above an unsettled offset may be committed, and what was
// settled above it is in the metadata, so that a restart does not push it again.
func TestCheckpointHoldsWhatIsNotDelivered(t *testing.T) {
	t.Parallel()
	var offset int64
	var meta string
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.targets[0].set(func(ctx context.Context, d *connector.Delivery) error {
			if d.Event.Offset == 3 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		r.publish("a", "b", "c", "stuck", "d", "stuck", "e")
		synctest.Wait()
		require.Equal(t, int64(3), r.committable())
		r.p.Drain(time.Second)
		offset, meta = r.checkpoint()
		require.Equal(t, int64(3), offset)
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, resumeFrom(offset, meta))
		require.Equal(t, int64(3), r.next)
		r.publish("stuck", "d", "stuck", "e")
		r.settlesAll(time.Second)
		require.Equal(t, []int64{3, 5}, r.targets[0].offsets(""), "4 and 6 were settled before the restart")
	})
}

func TestEachTargetHasItsOwnCursor(t *testing.T) {
	t.Parallel()
	var offset int64
	var meta string
	down := func(context.Context, *connector.Delivery) error {
		return connector.AsUnavailable(errors.New("refused"))
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil))
		r.targets[1].set(down)
		for i := range 100 {
			r.publish(fmt.Sprint(i))
		}
		synctest.Wait()
		require.Len(t, r.targets[0].offsets(""), 100, "the healthy target does not wait")
		r.p.Drain(time.Second)
		offset, meta = r.checkpoint()
		require.Zero(t, offset)
	})
	synctest.Test(t, func(t *testing.T) {
		var before []*event.Record
		for i := range int64(100) {
			before = append(before, record(i, fmt.Sprint(i)))
		}
		r := newRig(t, withTarget(nil), withTarget(nil), withTarget(nil), resumeFrom(offset, meta), history(before))
		r.publish("100")
		r.settlesAll(time.Minute)
		require.Equal(t, []int64{100}, r.targets[0].offsets(""))
		require.Len(t, r.targets[1].offsets(""), 101)
		require.Equal(t, []int64{100}, r.targets[2].offsets(""), "a new target starts where the furthest is")
	})
}

// A letter settles a record for its target, so a restart does not write it again
// because another target still lacks the record.
func TestRestartWritesNoLetterAgain(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, answer func(context.Context, *connector.Delivery) error, opts ...rigOption) *rig {
		t.Helper()
		r := newRig(t, append(opts, withTarget(nil), withTarget(nil))...)
		r.Router = unroutable{}
		r.targets[1].set(answer)
		r.publish("a")
		return r
	}
	var offset int64
	var meta string
	synctest.Test(t, func(t *testing.T) {
		r := start(t, refused)
		r.publish("b")
		synctest.Wait()
		require.Len(t, r.letters.all(), 2)
		r.p.Drain(time.Second)
		offset, meta = r.checkpoint()
	})
	synctest.Test(t, func(t *testing.T) {
		r := start(t, accepted, resumeFrom(offset, meta), history([]*event.Record{record(0, "a"), record(1, "b")}))
		r.settlesAll(time.Minute)
		require.Len(t, r.letters.all(), 1, "of the third record")
		require.Len(t, r.targets[1].offsets(""), 3)
	})
}

// unroutable has a filter that fails for the first of two targets.
type unroutable struct{}

func (unroutable) Route(*event.Event) route.Decision {
	return route.Decision{Targets: []route.Verdict{{Err: errors.New("no such key")}, {Deliver: true}}}
}

func TestUnusableMetadataStartsAllAtTheCommittedOffset(t *testing.T) {
	t.Parallel()
	for name, meta := range map[string]string{"empty": "", "damaged": "AAAA"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, resumeFrom(40, meta))
				r.publish("a")
				r.settlesAll(time.Second)
				require.Equal(t, []int64{40}, r.targets[0].offsets(""))
			})
		})
	}
}

// What the log lost before delivery is skipped, never mistaken for delivered
// records of other offsets.
func TestLogThatLostRecordsIsReadFromItsStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, resumeFrom(10, ""), logStart(30))
		r.publish("a")
		r.settlesAll(time.Second)
		require.Equal(t, []int64{30}, r.targets[0].offsets(""))
		require.Equal(t, int64(31), r.committable())
	})
}

func TestGapsSettle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.next = 7 // compacted away below
		r.publish("a")
		r.next = 20
		r.publish("b")
		r.settlesAll(time.Second)
	})
}

// Memory: a lane takes no more than its window, and the feed pauses instead.
func TestFullWindowHoldsTheFeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Window.Deliveries = 10; s.Concurrency = 1 }))
		c := r.targets[0]
		block := make(chan struct{})
		c.set(func(context.Context, *connector.Delivery) error { <-block; return nil })
		for range 40_000 {
			r.publish("k")
		}
		synctest.Wait()
		require.Equal(t, 10, r.Snapshot().Targets[0].Lanes[0].Deliveries)
		require.True(t, r.p.inbox.full, "the feed is told to pause")
		close(block)
		r.settlesAll(time.Minute)
		require.Equal(t, 1, r.log.resumed)
		c.inOrder(t)
	})
}

// The metadata bounds what may be pushed out of order: everything pushed must be
// recordable, or a restart would repeat it.
func TestFirstAttemptsFitTheCheckpoint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Window.Deliveries = 100_000; s.Concurrency = 100_000 }))
		c := r.targets[0]
		block := make(chan struct{})
		c.set(func(_ context.Context, d *connector.Delivery) error {
			if d.Event.Offset%2 == 0 {
				<-block
			}
			return nil
		})
		for i := range 6000 { // every other one hangs: the worst case of runs
			r.publish(fmt.Sprint(i))
		}
		synctest.Wait()
		pushed := len(c.offsets(""))
		require.Less(t, pushed, 3000)
		require.Greater(t, pushed, 100)
		offset, meta := r.checkpoint()
		require.Zero(t, offset)
		require.LessOrEqual(t, len(meta), 4096)
		next := newRig(t, resumeFrom(offset, meta))
		require.Len(t, next.p.lanes[0].cursor.Runs(), pushed, "no settled push is left out")
		close(block)
		r.settlesAll(time.Minute)
	})
}

// The list of what is parked lives as long as the lane, its deliveries only until they settle.
func TestWhatWasParkedIsNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		release := make(chan struct{})
		r.targets[0].set(func(context.Context, *connector.Delivery) error { <-release; return nil })
		for i := range 4000 {
			r.publish(fmt.Sprintf("k%d", i))
		}
		synctest.Wait()
		l := r.p.lanes[0]
		require.Greater(t, len(l.parked), 1000)
		var parked []weak.Pointer[pending]
		for _, p := range l.parked {
			parked = append(parked, weak.Make(p))
		}
		close(release)
		r.settlesAll(time.Second)
		runtime.GC()
		kept := 0
		for _, p := range parked {
			if p.Value() != nil {
				kept++
			}
		}
		require.Zero(t, kept, "settled deliveries in memory")
	})
}

func TestDrainWaitsForAttemptsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Concurrency = 2 }))
		r.targets[0].set(func(ctx context.Context, _ *connector.Delivery) error { return pause(ctx, 2*time.Second) })
		r.publish("a", "b", "a", "c")
		synctest.Wait()
		began := time.Now()
		r.p.Drain(15 * time.Second)
		require.Equal(t, 2*time.Second, time.Since(began))
		require.Equal(t, int64(2), r.committable())
		require.Len(t, r.targets[0].tried(), 2, "nothing new starts")
	})
}

// A hung attempt is cut when the drain's time is up, and what it does after that
// settles nothing.
func TestDrainCancelsAndNothingSettlesAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Timeout = time.Hour }))
		release := make(chan struct{})
		r.targets[0].set(func(context.Context, *connector.Delivery) error { <-release; return nil })
		r.publish("a", "b")
		synctest.Wait()
		r.p.Drain(15 * time.Second)
		require.Zero(t, r.committable())
		close(release)
		synctest.Wait()
		require.Zero(t, r.committable(), "the assignment is over")
	})
}

func TestCommitIsAskedForEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for i := range 600 {
			r.publish(fmt.Sprint(i))
		}
		synctest.Wait()
		require.Equal(t, 1, r.commits, "no second before the first was taken")
		r.committable()
		for i := range 250 {
			r.publish(fmt.Sprint(i))
		}
		synctest.Wait()
		require.Equal(t, 2, r.commits)
	})
}
