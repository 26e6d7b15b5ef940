package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// Our own cancellation is no failure of the target.
func TestCancelledAttemptSaysNothingOfTheTarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) {
			s.Batch = Batch{Size: 2, Linger: time.Second}
			s.Breaker.MinRequests, s.Retry.MaxAttempts = 1, 1
		}))
		c := r.targets[0]
		c.set(func(ctx context.Context, d *connector.Delivery) error {
			if d.Attempt > 1 {
				return nil
			}
			<-ctx.Done()
			return errServer
		})
		other, err := r.Assign(t.Context(), Assignment{Topic: "policies", TopicID: topicID, Partition: 1}, r.log)
		require.NoError(t, err)
		r.publish("a")
		synctest.Wait()
		moved := record(0, "b")
		moved.Partition = 1
		other.Take([]*event.Record{moved}, 0, 1)
		synctest.Wait()
		other.Abort()
		r.settlesAll(2 * time.Second)
		require.Equal(t, "closed", r.Snapshot().Targets[0].Breaker)
		require.Empty(t, r.letters.all())
	})
}

// What a row fails of by itself is no failure of the whole: nothing is sent again for
// it. The breaker hears of the worst row.
func TestFailedRowsDoNotSplitABatch(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err     error
		letters int
		breaker string
	}{
		"permanent": {errPermanent, 1, "closed"},
		"transient": {errServer, 0, "open"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTarget(func(s *Settings) {
					s.Batch = Batch{Size: 10, Linger: time.Second}
					s.Breaker.MinRequests = 1
				}))
				r.Targets[0].batch = firstRowFails{batchingConnector{r.targets[0]}, tt.err}
				for i := range 10 {
					r.publish(fmt.Sprint(i))
				}
				synctest.Wait()
				require.Equal(t, 1, r.targets[0].calls)
				require.Len(t, r.letters.all(), tt.letters)
				require.Equal(t, tt.breaker, r.Snapshot().Targets[0].Breaker)
			})
		})
	}
}

type firstRowFails struct {
	batchingConnector
	err error
}

func (c firstRowFails) PushBatch(ctx context.Context, ds []*connector.Delivery) []connector.Result {
	rs := c.batchingConnector.PushBatch(ctx, ds)
	rs[0].Err = c.err
	return rs
}

// Nothing is sent any more for a partition that has ended, not even to find the row at
// fault.
func TestCancelledBatchIsNotSplit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, batches(4, time.Second))
		r.targets[0].set(func(ctx context.Context, _ *connector.Delivery) error { <-ctx.Done(); return errPermanent })
		r.publish("a", "b", "c", "d")
		synctest.Wait()
		r.p.Abort()
		synctest.Wait()
		require.Equal(t, 1, r.targets[0].calls)
	})
}

// A batch is never larger than batch.size, however many wait.
func TestBatchIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Batch.Size = 10; s.Concurrency = 1 }))
		c := r.targets[0]
		release := make(chan struct{})
		c.set(func(context.Context, *connector.Delivery) error { <-release; return nil })
		r.publish("first")
		synctest.Wait()
		for i := range 44 {
			r.publish(fmt.Sprint(i))
		}
		synctest.Wait()
		close(release)
		r.settlesAll(time.Second)
		require.Equal(t, 1+5, c.calls)
	})
}

// Two versions of a key share no batch, unless the connector applies it in order.
func TestUnorderedBatchHoldsAKeyOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := &recordingConnector{}
		r := newRig(t, batches(10, time.Second))
		settings := r.Targets[0].settings
		target := NewTarget(TargetConfig{
			Name: "unordered", Settings: settings, Connector: unordered{conn, batchingConnector{conn}},
			HoldRatio: 0.5, Letters: r.letters, Metrics: testMetrics(t), Logger: slog.New(slog.DiscardHandler),
		})
		e := NewEngine(Config{
			Targets: []*Target{target}, Decoder: fakeDecoder{}, Reader: fakeReader{}, Router: everywhere(1),
			Letters: r.letters, CommitNow: func() {}, Tracer: testTracer(), Metrics: testMetrics(t), Logger: slog.New(slog.DiscardHandler),
		})
		p, err := e.Assign(t.Context(), Assignment{Topic: "policies", TopicID: topicID}, r.log)
		require.NoError(t, err)
		p.Take([]*event.Record{record(0, "a"), record(1, "b"), record(2, "a")}, 0, 3)
		<-time.After(5 * time.Second)
		synctest.Wait()
		require.Equal(t, 2, conn.calls)
		require.Len(t, conn.offsets(""), 3)
		p.Abort()
		require.NoError(t, e.Close(t.Context()))
	})
}

// Two lanes may have the same key, after a topic got more partitions for example. A batch
// has it once, what it passes over goes with the next.
func TestUnorderedBatchHoldsAKeyOnceOverAllLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Batch, s.Concurrency = Batch{Size: 4}, 1 }))
		c := r.targets[0]
		r.Targets[0].batch, r.Targets[0].ordered = unordered{c, batchingConnector{c}}, false
		other, err := r.Assign(t.Context(), Assignment{Topic: "policies", TopicID: topicID, Partition: 1}, r.log)
		require.NoError(t, err)
		defer other.Abort()
		r.pause(0, true)
		r.publish("a", "b")
		synctest.Wait()
		var more []*event.Record
		for i, key := range []string{"a", "b", "c", "d", "e"} {
			more = append(more, record(int64(i), key))
			more[i].Partition = 1
		}
		other.Take(more, 0, 5)
		synctest.Wait()
		r.pause(0, false)
		synctest.Wait()
		var keys []string
		for _, a := range c.tried() {
			keys = append(keys, a.key)
		}
		require.Equal(t, []string{"a", "b", "c", "d", "a", "b", "e"}, keys)
		require.Equal(t, 2, c.calls)
	})
}

// unordered takes batches and promises no order in them.
type unordered struct {
	*recordingConnector
	batches batchingConnector
}

func (u unordered) PushBatch(ctx context.Context, ds []*connector.Delivery) []connector.Result {
	return u.batches.PushBatch(ctx, ds)
}
