package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

func batches(size int, linger time.Duration) rigOption {
	return withTarget(func(s *Settings) { s.Batch = Batch{Size: size, Linger: linger}; s.Concurrency = 4 })
}

// One bad row never takes its neighbours to the dead letters, and costs them no
// attempt.
func TestBadRowIsSplitFromItsBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, batches(64, time.Second))
		c := r.targets[0]
		c.set(failing(connector.AsPermanent(errors.New("value too long")), "k13", "k40"))
		for i := range 64 {
			r.publish(fmt.Sprint("k", i))
		}
		r.settlesAll(time.Minute)
		require.Len(t, r.letters.all(), 2)
		require.Len(t, c.offsets(""), 62)
		for _, a := range c.tried() {
			require.Equal(t, 1, a.n, "splits are part of one attempt")
		}
	})
}

// A transient failure of a batch is no reason to split it.
func TestTransientBatchIsRetriedWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, batches(10, time.Second))
		c := r.targets[0]
		c.set(func(_ context.Context, d *connector.Delivery) error {
			if d.Attempt == 1 {
				return errServer
			}
			return nil
		})
		for i := range 10 {
			r.publish(fmt.Sprint(i))
		}
		r.settlesAll(time.Minute)
		require.Empty(t, r.letters.all())
		require.Equal(t, 10, len(c.tried())-10, "each was tried twice")
	})
}

func TestBatchWaitsForItsLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, batches(100, time.Second))
		c := r.targets[0]
		for i := range 30 {
			r.publish(fmt.Sprint(i))
			<-time.After(20 * time.Millisecond)
		}
		require.Empty(t, c.tried())
		<-time.After(500 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, 1, c.calls)
		require.Len(t, c.offsets(""), 30)
		for i := range 100 {
			r.publish(fmt.Sprint(i))
		}
		synctest.Wait()
		require.Equal(t, 2, c.calls, "a full batch goes at once")
	})
}

// A window smaller than what would fill the batch must not cost the linger.
func TestFullWindowFlushesTheBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) {
			s.Batch = Batch{Size: 100, Linger: time.Hour}
			s.Window.Deliveries = 10
		}))
		for i := range 55 {
			r.publish(fmt.Sprint(i))
		}
		synctest.Wait()
		require.Len(t, r.targets[0].offsets(""), 50)
	})
}

// Versions of one key share a batch where the connector applies it in order.
func TestOrderedBatchHoldsSeveralVersionsOfAKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, batches(100, time.Second))
		c := r.targets[0]
		for i := range 100 {
			r.publish(fmt.Sprint(i % 3))
		}
		r.settlesAll(5 * time.Second)
		require.LessOrEqual(t, c.calls, 2)
		c.inOrder(t)
	})
}

// Promise 2: several versions of a key that fail together come back together and
// in order, although each failed for itself.
func TestFailedOrderedBatchComesBackInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) {
			s.Batch = Batch{Size: 10, Linger: time.Second}
			s.Retry.MaxAttempts = 1000
			s.Breaker.FailureRatio = 1
		}))
		c := r.targets[0]
		c.set(sometimes(0.2, errServer))
		for i := range 200 {
			r.publish(fmt.Sprint("k", i%3))
		}
		r.settlesAll(24 * time.Hour)
		require.Len(t, c.offsets(""), 200, "each once")
		c.inOrder(t)
	})
}

// Promise 2: when a batch is split, no later version of a key is sent behind one that
// failed: its letter is not acknowledged yet, and after a crash it goes again.
func TestSplitSendsNothingBehindARowThatFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, batches(4, time.Second))
		r.letters.block = make(chan struct{})
		c := r.targets[0]
		c.set(func(ctx context.Context, d *connector.Delivery) error {
			if d.Event.Offset == 0 {
				return invalid(ctx, d)
			}
			return nil
		})
		r.publish("k", "other", "k", "another")
		<-time.After(time.Minute)
		require.Equal(t, []int64{1, 3}, c.offsets(""))
		close(r.letters.block)
		r.settlesAll(time.Minute)
		require.Equal(t, []int64{1, 3, 2}, c.offsets(""))
	})
}

// A lane whose checkpoint has no room for more adds nothing to a batch, so the
// batch goes at once.
func TestBatchThatCannotGrowDoesNotLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, batches(5000, time.Minute))
		for i := range 4900 {
			r.publish(fmt.Sprint(i))
		}
		synctest.Wait()
		c := r.targets[0]
		require.Greater(t, len(c.offsets("")), 4000)
		r.settlesAll(2 * time.Minute)
		c.inOrder(t)
	})
}

// A connector may also answer for each version of a key by itself. What waits, what
// is queued behind it and what is being written as a letter then stand mixed in
// the key's queue, and each still settles once.
func TestRowsOfAnOrderedBatchEndEachInItsOwnWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) {
			s.Batch = Batch{Size: 10, Linger: time.Second}
			s.Breaker.FailureRatio = 1
		}))
		r.Targets[0].batch = rowByRow{batchingConnector{r.targets[0]}}
		r.letters.delay = time.Minute
		for range 200 {
			r.publish("k")
		}
		r.settlesAll(24 * time.Hour)
		ended := map[int64]int{}
		for _, offset := range r.targets[0].offsets("") {
			ended[offset]++
		}
		for _, l := range r.letters.all() {
			ended[l.Position.Offset]++
		}
		require.Len(t, ended, 200)
		for offset, times := range ended {
			require.Equal(t, 1, times, "offset %d", offset)
		}
	})
}

// rowByRow applies or fails each delivery of a batch for itself.
type rowByRow struct{ batchingConnector }

func (c rowByRow) PushBatch(ctx context.Context, ds []*connector.Delivery) []connector.Result {
	rs := make([]connector.Result, len(ds))
	for i, d := range ds {
		switch rand.N(4) {
		case 0:
			rs[i].Err = errServer
		case 1:
			rs[i].Err = invalid(ctx, d)
		default:
			_, rs[i].Err = c.Push(ctx, d)
		}
	}
	return rs
}

// An answer that does not fit the batch can't be told apart: all of it is retried.
func TestWrongNumberOfResultsIsATransientFailure(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTarget(func(s *Settings) { s.Batch.Size = 2; s.Batch.Linger = time.Second; s.Retry.MaxAttempts = 1 }))
				r.Targets[0].batch = miscounting{n: n}
				r.publish("a", "b")
				r.settlesAll(time.Minute)
				for _, l := range r.letters.all() {
					require.Equal(t, fmt.Sprintf("connector recording answered %d of 2 deliveries", n), l.Error)
				}
				require.NotEmpty(t, r.letters.all())
			})
		})
	}
}

// miscounting answers n deliveries, whatever it was given.
type miscounting struct {
	batchingConnector
	n int
}

func (m miscounting) PushBatch(context.Context, []*connector.Delivery) []connector.Result {
	return make([]connector.Result, m.n)
}

// A batch that carries deliveries of a partition that ends is cancelled for all, at
// no cost to the others: they go again at once.
func TestBatchOutlivesOneOfItsPartitions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, batches(4, time.Second))
		c := r.targets[0]
		c.set(func(ctx context.Context, d *connector.Delivery) error {
			if d.Attempt == 1 {
				return pause(ctx, 9*time.Second)
			}
			return nil
		})
		other, err := r.Assign(t.Context(), Assignment{Topic: "policies", TopicID: topicID, Partition: 1}, r.log)
		require.NoError(t, err)
		r.publish("a")
		synctest.Wait()
		moved := record(0, "b")
		moved.Partition = 1
		other.Take([]*event.Record{moved}, 0, 1)
		r.publish("c", "d")
		synctest.Wait()
		require.Equal(t, 1, c.calls)
		other.Abort()
		r.settlesAll(2 * time.Second)
		require.ElementsMatch(t, []int64{0, 1, 2}, c.offsets(""))
		require.Equal(t, "closed", r.Snapshot().Targets[0].Breaker)
	})
}
