package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

func smallWindow(s *Settings) {
	s.Window.Deliveries = 10
	s.Breaker.OpenMax = 5 * time.Second
}

// Promise 3: a target that is down for as long as you like holds back nobody, and
// costs no more memory than its window.
func TestDownTargetHoldsBackNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(smallWindow), withTarget(smallWindow))
		healthy, broken := r.targets[0], r.targets[1]
		broken.set(refused)
		for i := range 5000 {
			r.publish(fmt.Sprintf("k%d", i%100))
		}
		<-time.After(time.Minute)
		synctest.Wait()
		require.Len(t, healthy.offsets(""), 5000)
		require.LessOrEqual(t, r.Snapshot().Targets[1].Lanes[0].Deliveries, 10)
		_, opened := r.feeds.counts()
		require.Zero(t, opened, "no feed is opened for a lane without room")

		broken.set(func(ctx context.Context, d *connector.Delivery) error {
			if d.Event.Offset >= 100 {
				return refused(ctx, d)
			}
			return nil
		})
		<-time.After(time.Minute)
		synctest.Wait()
		open, opened := r.feeds.counts()
		require.NotZero(t, opened)
		require.Zero(t, open, "nor kept for one that is full again")

		broken.set(accepted)
		r.settlesAll(10 * time.Minute)
		require.Len(t, broken.offsets(""), 5000)
		broken.inOrder(t)
		require.True(t, r.attached(1))
		r.publish("k0")
		r.settlesAll(time.Second)
		open, _ = r.feeds.counts()
		require.Zero(t, open, "attached again, it needs no feed")
	})
}

// After a restart the live feed starts at the highest cursor: a healthy target does
// not wait for a dead one's backlog.
func TestRestartDoesNotWaitForABacklog(t *testing.T) {
	t.Parallel()
	var offset int64
	var meta string
	var feeds *memoryFeeds
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(smallWindow), withTarget(smallWindow))
		r.targets[1].set(refused)
		for i := range 1000 {
			r.publish(fmt.Sprint(i))
		}
		<-time.After(time.Minute)
		synctest.Wait()
		r.p.Drain(time.Second)
		offset, meta = r.checkpoint()
		require.Zero(t, offset)
		feeds = &memoryFeeds{log: r.feeds.log}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(smallWindow), withTarget(smallWindow), resumeFrom(offset, meta), history(feeds.log))
		require.Equal(t, int64(1000), r.next)
		r.targets[1].set(refused)
		r.publish("new")
		<-time.After(time.Minute)
		synctest.Wait()
		require.Equal(t, []int64{1000}, r.targets[0].offsets(""))
		r.targets[1].set(accepted)
		r.settlesAll(10 * time.Minute)
		require.Len(t, r.targets[1].offsets(""), 1001)
		r.targets[1].inOrder(t)
	})
}

// The last lane that is attached does not detach, or the live feed would run ahead of
// everybody; it does as soon as another attaches.
func TestLastAttachedLaneIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(smallWindow), withTarget(smallWindow))
		r.targets[0].set(refused)
		for i := range 100 {
			if i == 50 { // by then the other is on its own
				<-time.After(time.Minute)
				r.targets[1].set(refused)
			}
			r.publish(fmt.Sprint(i))
		}
		<-time.After(time.Minute)
		synctest.Wait()
		require.NotEqual(t, r.attached(0), r.attached(1))
		last := 0
		if r.attached(1) {
			last = 1
		}
		r.targets[1-last].set(accepted)
		<-time.After(time.Minute)
		synctest.Wait()
		require.Len(t, r.targets[1-last].offsets(""), 100)
		require.True(t, r.attached(1-last))
		require.False(t, r.attached(last))
		r.targets[last].set(accepted)
		r.settlesAll(time.Minute)
	})
}

// What a target reads to catch up is bounded, in bytes, and what the others read is not.
func TestCatchUpReadsSlowlyIfAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		size := record(1000, "k000").Size()
		r := newRig(t, withTarget(nil), withTarget(func(s *Settings) {
			smallWindow(s)
			s.CatchUp.MaxBytesPerSecond = connector.Bytes(size * 10)
		}))
		slow := r.targets[1]
		slow.set(refused)
		for i := range 500 {
			r.publish(fmt.Sprintf("k%03d", i))
		}
		<-time.After(time.Minute)
		slow.set(accepted)
		began := time.Now()
		for len(slow.offsets("")) < 500 {
			<-time.After(100 * time.Millisecond)
		}
		took := time.Since(began)
		require.Greater(t, took, 40*time.Second)
		require.Less(t, took, 70*time.Second, "a second's worth may go at once, and the breaker has to close")

		slow.set(refused) // and a record larger than that is read all the same
		r.publish(slices.Repeat([]string{"k"}, 20)...)
		r.publish(strings.Repeat("k", size*25))
		<-time.After(time.Minute)
		slow.set(accepted)
		r.settlesAll(2 * time.Minute)
	})
}

// A record that nobody can read is one letter, also for the lane that meets it later.
func TestCatchUpWritesNoSecondLetter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(smallWindow), withTarget(smallWindow))
		r.targets[1].set(refused)
		for i := range 50 {
			r.publish(fmt.Sprint(i))
		}
		r.publish("garbage")
		<-time.After(time.Minute)
		r.targets[1].set(accepted)
		r.settlesAll(10 * time.Minute)
		require.Len(t, r.letters.all(), 1)
	})
}

// Promise 1: a record that nobody can read is the live feed's to bury. A lane that
// catches up to it while the letter is not acknowledged must not settle it: a commit
// would say that it needs no letter.
func TestCatchUpLeavesToTheLiveFeedWhatItHasNotPassed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(smallWindow), withTarget(smallWindow))
		r.targets[1].set(refused)
		for i := range 50 {
			r.publish(fmt.Sprint(i))
		}
		<-time.After(time.Minute)
		require.False(t, r.attached(1))
		r.letters.block = make(chan struct{})
		r.next += 2 // a gap, so that the record is what the catch-up finds next
		garbage := r.next
		r.publish("garbage")
		r.targets[1].set(accepted)
		<-time.After(10 * time.Minute)
		synctest.Wait()
		require.Len(t, r.targets[1].offsets(""), 50)
		require.False(t, r.p.lanes[1].settled(garbage))
		close(r.letters.block)
		r.settlesAll(time.Minute)
		require.True(t, r.attached(1))
		require.Len(t, r.letters.all(), 1)
	})
}

// A delivery that is more than a tenth of the window waits until there is room for
// all of it; else its lane would detach and attach again without end.
func TestLargeDeliveryWaitsForAllOfItsRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Window.Bytes = 1000 }))
		answer := make(chan struct{})
		r.targets[0].set(func(context.Context, *connector.Delivery) error { <-answer; return nil })
		r.publish("small", strings.Repeat("large", 150))
		synctest.Wait()
		r.Targets[0].mu.Lock()
		count, room := r.p.lanes[0].count, r.p.lanes[0].hasRoom()
		r.Targets[0].mu.Unlock()
		require.Equal(t, 1, count)
		require.False(t, room)
		close(answer)
		r.settlesAll(time.Second)
	})
}

// Whatever the targets do, each gets each event once and in order, and all are
// attached in the end.
func TestFeedsUnderRandomSchedules(t *testing.T) {
	t.Parallel()
	// A target that comes and goes may use up a delivery's attempts: not what this is about.
	patient := withTarget(func(s *Settings) { smallWindow(s); s.Retry.MaxAttempts = 1000 })
	for range 30 {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, patient, patient, patient)
			answers := []func(context.Context, *connector.Delivery) error{
				accepted, refused, sometimes(0.3, connector.AsUnavailable(errors.New("timeout"))),
				func(ctx context.Context, _ *connector.Delivery) error { return pause(ctx, rand.N(2*time.Second)) },
			}
			for range 40 {
				for _, c := range r.targets {
					if rand.N(3) == 0 {
						c.set(answers[rand.N(len(answers))])
					}
				}
				for range rand.N(60) {
					r.next += int64(rand.N(2)) // gaps
					r.publish(fmt.Sprintf("k%d", rand.N(15)))
				}
				<-time.After(rand.N(10 * time.Second))
			}
			for _, c := range r.targets {
				c.set(accepted)
			}
			r.settlesAll(time.Hour)
			for i, c := range r.targets {
				require.Len(t, c.offsets(""), len(r.feeds.log))
				c.inOrder(t)
				require.True(t, r.attached(i))
			}
			require.Empty(t, r.letters.all())
		})
	}
}

// A lane that attaches just when the live feed has looked for one that needs it is not
// overlooked: it settles nothing by which the live feed would wake.
func TestLiveFeedNoticesALaneThatAttachesJustThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil))
		full, idle := r.p.lanes[0], r.p.lanes[1]
		for range 100_000 {
			r.p.feeding.Lock()
			full.attached, idle.attached = true, false
			r.p.feeding.Unlock()
			noticed := make(chan error, 1)
			var begun atomic.Int32
			together := func(do func()) {
				begun.Add(1)
				for begun.Load() < 2 {
					runtime.Gosched()
				}
				do()
			}
			go together(func() { noticed <- r.p.detachOrWait(full, nil) })
			go together(func() { r.p.attach(idle) })
			synctest.Wait()
			require.Len(t, noticed, 1)
		}
	})
}
