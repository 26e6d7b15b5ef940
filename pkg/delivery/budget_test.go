package delivery

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// However many targets are down, and for however long, what waits stays within the
// budget, and the one that works goes on with its share.
func TestLanesStayWithinTheBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const memory = 800_000
		r := newRig(t, withTarget(nil), withTarget(nil), withTarget(nil), withTarget(nil), within(memory))
		r.Receipts = false // they have a budget of their own
		for down := 1; down <= 3; down++ {
			r.targets[down].set(refused)
			for i := range 1000 {
				r.publish(fmt.Sprint(i))
				synctest.Wait() // those that work hold nothing
			}
			<-time.After(time.Minute)
			synctest.Wait()
			require.Len(t, r.targets[0].offsets(""), 1000*down)
			held := r.windows.held.Load()
			require.LessOrEqual(t, held, int64(memory/8))
			require.Greater(t, held, int64(memory/16*9/10), "half of it is for who comes first")
			lane := r.Snapshot().Targets[down].Lanes[0]
			require.Greater(t, lane.Bytes, int64(memory/16/4*9/10), "who comes later has a share")
		}
		for _, c := range r.targets {
			c.set(accepted)
		}
		r.settlesAll(10 * time.Minute)
		for _, c := range r.targets {
			require.Len(t, c.offsets(""), 3000)
			c.inOrder(t)
		}
		require.Zero(t, r.windows.held.Load())
	})
}

// Receipts that are not acknowledged stay within the budget, however many partitions wait
// for their topic, and each has its share.
func TestReceiptsStayWithinTheBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const memory, partitions, window, events = 32 << 20, 4, 10, 3000
		r := newRig(t, within(memory), withTarget(func(s *Settings) { s.Window.Deliveries = window }))
		parts := []*Partition{r.p}
		for id := range int32(partitions - 1) {
			p, err := r.Assign(t.Context(), Assignment{Topic: "policies", TopicID: topicID, Partition: id + 1}, &fakeLog{})
			require.NoError(t, err)
			defer p.Abort()
			parts = append(parts, p)
		}
		for _, p := range parts {
			records := make([]*event.Record, events)
			for i := range records {
				records[i] = record(int64(i), fmt.Sprint(i))
				records[i].Partition = p.Partition
			}
			p.Take(records, 0, events)
		}
		<-time.After(time.Hour)
		synctest.Wait()
		const limit = memory / 8 / receiptBytes
		var owed int64
		for _, p := range parts {
			own := p.unsaved.count.Load()
			require.GreaterOrEqual(t, own, int64(limit/2/partitions))
			owed += own
		}
		require.LessOrEqual(t, owed, int64(limit+partitions*(window+1)))

		for range 30 {
			for _, p := range parts {
				_, err := p.Checkpoint()
				require.NoError(t, err)
				p.Saved()
			}
			<-time.After(time.Second)
			synctest.Wait()
		}
		require.Len(t, r.targets[0].offsets(""), partitions*events)
	})
}

// What a partition held, its lanes and inboxes, is free again when it is released.
func TestReleaseFreesTheBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil), within(100_000))
		for _, c := range r.targets {
			c.set(refused)
		}
		for i := range 1000 {
			r.publish(fmt.Sprint(i))
		}
		<-time.After(time.Minute)
		synctest.Wait()
		require.NotZero(t, r.windows.held.Load())
		require.NotZero(t, r.inboxes.held.Load())
		r.p.Drain(time.Second)
		for _, b := range []*budget{&r.windows, &r.inboxes} {
			require.Zero(t, b.held.Load())
			require.Zero(t, b.shares.Load())
		}
	})
}

// Targets that are equally slow read their backlog by the one live feed, and none
// of them is ever idle for it.
func TestSlowLanesShareTheLiveFeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := withTarget(func(s *Settings) { s.Window.Deliveries, s.Concurrency = 40, 1 })
		r := newRig(t, slow, slow, slow)
		for i, c := range r.targets {
			c.set(func(ctx context.Context, _ *connector.Delivery) error {
				return pause(ctx, time.Second+time.Duration(i)*time.Millisecond)
			})
		}
		for i := range 1000 {
			r.publish(fmt.Sprint(i))
		}
		<-time.After(1005 * time.Second)
		synctest.Wait()
		for _, c := range r.targets {
			require.Len(t, c.offsets(""), 1000)
		}
		_, opened := r.feeds.counts()
		require.Zero(t, opened)
	})
}
