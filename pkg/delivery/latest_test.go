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

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

func latest(s *Settings) { s.Deliver = "latest" }

// push publishes and waits for what follows at once.
func (r *rig) push(keys ...string) {
	r.publish(keys...)
	synctest.Wait()
}

// After an outage a target gets the newest version of each key and nothing else, and
// the outage costs no more memory than there are keys.
func TestLatestCatchesUpByKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		small := func(s *Settings) { s.Window.Deliveries = 100 }
		r := newRig(t, withTarget(small), withTarget(func(s *Settings) { small(s); latest(s) }))
		every, last := r.targets[0], r.targets[1]
		last.set(refused)
		const keys, events = 40, 20_000
		newest := map[string]int64{}
		for i := range events {
			key := fmt.Sprint("still", i)
			if i >= keys/2 {
				key = fmt.Sprint("busy", i%(keys/2))
			}
			newest[key] = r.next
			r.publish(key)
			if i%100 == 0 {
				<-time.After(time.Second)
			}
		}
		synctest.Wait()
		require.True(t, r.attached(1), "its window counts keys")
		require.LessOrEqual(t, r.Snapshot().Targets[1].Lanes[0].Deliveries, keys)
		r.Targets[1].mu.Lock()
		ready, runs := r.Targets[1].ready, r.p.lanes[1].cursor.Runs()
		r.Targets[1].mu.Unlock()
		require.LessOrEqual(t, len(ready.entries)-ready.head, 2*keys+1)
		require.GreaterOrEqual(t, r.Snapshot().Targets[1].OldestWaiting, 190*time.Second, "superseded versions count")
		require.LessOrEqual(t, len(runs), 1, "only below canaries")

		last.set(accepted)
		r.settlesAll(2 * time.Minute)
		require.Len(t, every.offsets(""), events)
		require.Len(t, last.offsets(""), keys, "once per key")
		for key, offset := range newest {
			require.Equal(t, []int64{offset}, last.offsets(key))
		}
		require.Empty(t, r.letters.all())
	})
}

// Trouble over many keys leaves more that was superseded between what waits than a
// checkpoint can record. So what is attempted is of low offsets, and all that was pushed
// can be recorded at any time. Once the target is back it gets as many at a time as ever.
func TestLatestTroubleOverManyKeys(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]error{
		"outage":   connector.AsUnavailable(errors.New("connection refused")),
		"failures": errServer, // of each key by itself: no breaker opens
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTarget(func(s *Settings) {
					latest(s)
					s.Retry = Retry{Initial: time.Hour, Max: time.Hour, MaxAttempts: 1000}
					s.Breaker.OpenMax = 5 * time.Second
					if connector.Classify(trouble) == connector.Transient {
						s.Retry.Initial, s.Retry.Max = time.Second, 10*time.Second
						s.Breaker.MinRequests = 1 << 30
					}
				}))
				c := r.targets[0]
				recorded := func() {
					synctest.Wait()
					r.Targets[0].mu.Lock()
					runs := r.p.lanes[0].cursor.Runs()
					r.Targets[0].mu.Unlock()
					offset, meta := r.checkpoint()
					cp, err := checkpoint.Decode(meta, offset, topicID)
					require.NoError(t, err)
					require.ElementsMatch(t, runs, cp.Lanes[0].Cursor.Runs())
				}
				c.set(func(context.Context, *connector.Delivery) error { return trouble })
				const keys = 4000
				for range 10 * keys {
					if r.publish(fmt.Sprint(rand.N(keys))); r.next%100 == 0 {
						<-time.After(time.Second)
						recorded()
					}
				}
				c.set(func(ctx context.Context, _ *connector.Delivery) error { return pause(ctx, time.Second) })
				<-time.After(20 * time.Second)
				before := len(c.offsets(""))
				<-time.After(10 * time.Second)
				synctest.Wait()
				require.GreaterOrEqual(t, len(c.offsets("")), before+9*32)
				recorded()
				c.set(accepted)
				r.settlesAll(time.Minute)
				require.Less(t, len(c.offsets("")), keys+keys/10)
				c.inOrder(t)
			})
		})
	}
}

// What is in flight is never replaced: the newer versions wait behind it, as one.
func TestLatestReplacesNothingInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(latest))
		release := make(chan struct{})
		r.targets[0].set(func(context.Context, *connector.Delivery) error { <-release; return nil })
		r.push("a", "a", "a", "a")
		require.Len(t, r.targets[0].tried(), 1)
		require.Equal(t, 1, r.Snapshot().Targets[0].Lanes[0].Deliveries, "of one key")
		require.Equal(t, []string{"last/target0/a: superseded 2 superseded 2"}, r.receipts(), "the offset, and how many")
		r.p.Saved()
		close(release)
		synctest.Wait()
		require.Equal(t, []string{"held/target0/a: delivered 3 superseded 2"}, r.receipts())
		require.Equal(t, []int64{0, 3}, r.targets[0].offsets(""))
		r.targets[0].inOrder(t)
	})
}

// A delete is a version like any other: it replaces, and is replaced.
func TestLatestConflatesTombstones(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { latest(s); s.Breaker.MinRequests = 1 }))
		c := r.targets[0]
		c.set(refused)
		deleted := func(key string) *event.Record {
			rec := record(r.next, key)
			rec.Value = nil
			r.next++
			return rec
		}
		r.push("down", "gone", "back")
		r.p.Take([]*event.Record{deleted("gone"), deleted("back")}, 0, r.next)
		r.push("back")
		c.set(accepted)
		r.settlesAll(2 * time.Minute)
		got := map[string]connector.Op{}
		for _, d := range c.applied {
			got[d.Key] += d.Op
		}
		require.Equal(t, map[string]connector.Op{"down": connector.Upsert, "gone": connector.Delete, "back": connector.Upsert}, got)
	})
}

// One version of a key in a batch is enough, also where the connector would take more.
func TestLatestBatchHoldsAKeyOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { latest(s); s.Batch = Batch{Size: 10, Linger: time.Second} }))
		for i := range 100 {
			r.publish(fmt.Sprint(i % 5))
		}
		r.settlesAll(5 * time.Second)
		require.Equal(t, 1, r.targets[0].calls)
		require.Equal(t, []int64{95, 96, 97, 98, 99}, r.targets[0].offsets(""))
	})
}

// A key that changes all the time is pushed although others always wait: conflation
// puts it off once, not for ever.
func TestLatestPutsOffNoKeyForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { latest(s); s.Concurrency = 1 }))
		c := r.targets[0]
		c.set(func(ctx context.Context, _ *connector.Delivery) error { return pause(ctx, time.Second) })
		for i := range 1000 { // more than the target can take
			r.publish("hot", fmt.Sprint(i%100), fmt.Sprint((i+50)%100))
			<-time.After(time.Second)
		}
		require.Greater(t, len(c.offsets("hot")), 4, "once in two rounds of the others")
		c.set(accepted)
		r.settlesAll(time.Minute)
		c.inOrder(t)
	})
}

// A window that is full of keys still takes newer versions of them.
func TestLatestFullWindowReplaces(t *testing.T) {
	t.Parallel()
	size := (&event.Event{Record: record(999, "9"), Value: &event.Object{}}).Size()
	for name, window := range map[string]Window{
		"deliveries": {Deliveries: 10, Bytes: 1 << 20},
		"bytes":      {Deliveries: 1000, Bytes: connector.Bytes(10 * size)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTarget(nil), withTarget(func(s *Settings) { latest(s); s.Window = window }))
				r.targets[1].set(refused)
				for i := range 1000 {
					r.push(fmt.Sprint(i % 10))
				}
				<-time.After(time.Hour)
				require.True(t, r.attached(1))
				r.push("one key too many")
				require.False(t, r.attached(1))
				r.targets[1].set(accepted)
				r.settlesAll(10 * time.Minute)
				require.Len(t, r.targets[1].offsets(""), 11)
			})
		})
	}
}

// What was in flight and is replaced when it comes back must be recorded like what was
// replaced while it waited: a restart must not push it after the newer one.
func TestLatestRecordsWhatWasReplacedBelowAnAttempt(t *testing.T) {
	t.Parallel()
	var offset int64
	var meta string
	log := []*event.Record{record(0, "stuck"), record(1, "a"), record(2, "a"), record(3, "other")}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { latest(s); s.Timeout = time.Hour }))
		release := make(chan struct{})
		r.targets[0].set(func(ctx context.Context, d *connector.Delivery) error {
			switch d.Event.Offset {
			case 0:
				<-ctx.Done()
				return ctx.Err()
			case 1:
				<-release
				return errServer
			}
			return nil
		})
		r.p.Take(log, 0, 4)
		synctest.Wait()
		close(release)
		<-time.After(time.Second)
		synctest.Wait()
		require.Equal(t, []int64{3, 2}, r.targets[0].offsets(""))
		offset, meta = r.checkpoint()
		require.Zero(t, offset)
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(latest), resumeFrom(offset, meta))
		r.p.Take(log, 0, 4)
		r.next = 4
		r.settlesAll(time.Second)
		require.Equal(t, []int64{0}, r.targets[0].offsets(""))
	})
}
