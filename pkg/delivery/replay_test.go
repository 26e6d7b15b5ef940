package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// replayOf replays one target from an offset on.
func replayOf(id string, target int, from int64) *control.Replay {
	return &control.Replay{ID: id, Target: fmt.Sprintf("target%d", target), Ranges: []control.Range{{Topic: "policies", From: from}}}
}

func ordered(replays ...*control.Replay) rigOption {
	return func(c *rigConfig) { c.orders = replays }
}

// ids returns what a replay pushed, in order.
func (c *recordingConnector) ids(command string) (offsets []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.applied {
		if strings.HasSuffix(d.ID, "/"+command) {
			offsets = append(offsets, d.Event.Offset)
		}
	}
	return offsets
}

func (r *rig) lane(t *testing.T, target int) checkpoint.Lane {
	t.Helper()
	offset, meta := r.checkpoint()
	cp, err := checkpoint.Decode(meta, offset, topicID)
	require.NoError(t, err)
	return cp.Lanes[target]
}

// A replay pushes the newest version of each key once, and the other target nothing.
func TestReplayPushesTheNewestVersions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil))
		for n := range 90 {
			r.publish(fmt.Sprint("k", n%30))
		}
		r.settlesAll(time.Minute)
		r.Obey(0, replayOf("c1", 0, 10))
		r.settlesAll(time.Minute)
		again := r.targets[0].ids("c1")
		require.Len(t, again, 30)
		for _, offset := range again {
			require.GreaterOrEqual(t, offset, int64(60))
		}
		require.Len(t, r.targets[1].tried(), 90)
		l := r.lane(t, 0)
		require.Nil(t, l.Replay)
		require.EqualValues(t, 1, l.Control)
		require.True(t, r.attached(0))

		r.publish("k0")
		r.settlesAll(time.Minute)
		require.Len(t, r.targets[0].ids("c1"), 30, "what comes later is no part of it")
		require.Len(t, r.targets[0].tried(), 121)
	})
}

func TestReplayOfEveryVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(smallWindow))
		for n := range 90 {
			r.publish(fmt.Sprint("k", n%3))
		}
		r.settlesAll(time.Minute)
		c, to := replayOf("c1", 0, 10), int64(40)
		c.Every, c.Ranges[0].To = true, &to
		r.Obey(0, c)
		r.settlesAll(time.Minute)
		require.Len(t, r.targets[0].ids("c1"), 30)
		for key := range 3 {
			offsets := r.targets[0].offsets(fmt.Sprint("k", key))
			require.IsIncreasing(t, offsets[30:])
		}
		require.Len(t, r.targets[0].tried(), 120)
	})
}

// While events keep coming and the target fails at times, no version is pushed after a
// newer one, though replay follows on replay, and the other target sees nothing of it.
func TestReplayDuringLiveLoadKeepsTheOrder(t *testing.T) {
	t.Parallel()
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			patient := withTarget(func(s *Settings) { s.Retry.MaxAttempts = 1000 })
			r := newRig(t, patient, patient)
			for i := range r.targets {
				r.targets[i].set(sometimes(0.2, errServer))
			}
			for n := range 12 {
				for range 20 {
					r.publish(fmt.Sprint("k", rand.N(8)))
				}
				<-time.After(rand.N(2 * time.Second))
				if n%3 == 2 {
					r.Obey(int64(n), replayOf(fmt.Sprint("c", n), 0, rand.N(r.next)))
				}
				r.pause(0, rand.N(3) == 0)
			}
			r.pause(0, false)
			r.settlesAll(time.Hour)
			r.targets[1].inOrder(t)
			require.Empty(t, r.letters.all())
			require.Len(t, r.targets[1].offsets(""), 240)
			for n := range 8 {
				require.IsNonDecreasing(t, r.targets[0].offsets(fmt.Sprint("k", n)))
			}
			l := r.lane(t, 0)
			require.Nil(t, l.Replay)
			require.EqualValues(t, 12, l.Control)
		})
	}
}

// Wherever the engine is killed, a command is obeyed once, and each key ends at its
// newest version.
func TestReplayIsObeyedOnceOverCrashes(t *testing.T) {
	t.Parallel()
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			var replays []*control.Replay
			var offset int64
			var meta string
			done := map[string]bool{} // by a checkpoint
			feeds := &memoryFeeds{}
			has := map[string]int64{}
			for life := range 8 {
				window := 5 + rand.N(20)
				r := newRig(t, withTarget(func(s *Settings) { s.Window.Deliveries, s.Retry.MaxAttempts = window, 1000 }), withTarget(nil),
					resumeFrom(offset, meta), history(feeds.log), ordered(replays...))
				r.targets[0].set(func(ctx context.Context, d *connector.Delivery) error {
					for id := range done {
						if strings.HasSuffix(d.ID, "/"+id) {
							t.Errorf("life %d: %s again", life, d.ID)
						}
					}
					return sometimes(0.2, errServer)(ctx, d)
				})
				start := r.next
				for _, old := range feeds.log {
					if r.next = old.Offset + 1; old.Offset >= start {
						r.p.Take([]*event.Record{old}, 0, r.next)
					}
				}
				for range 5 {
					for range rand.N(30) {
						r.publish(fmt.Sprint("k", rand.N(8)))
					}
					<-time.After(rand.N(3 * time.Second))
					if rand.N(3) == 0 && r.next > 0 {
						c := replayOf(fmt.Sprint("c", len(replays)), 0, rand.N(r.next))
						c.Every = rand.N(2) == 0
						r.Obey(int64(len(replays)), c)
						replays = append(replays, c)
					}
					if rand.N(2) == 0 {
						synctest.Wait()
						offset, meta = r.checkpoint()
					}
				}
				if life == 7 {
					r.settlesAll(time.Hour)
					synctest.Wait()
					l := r.lane(t, 0)
					require.Nil(t, l.Replay)
					if len(replays) > 0 {
						require.EqualValues(t, len(replays), l.Control)
					}
				}
				r.p.Abort()
				synctest.Wait()
				for _, d := range r.targets[0].applied {
					has[d.Key] = d.Event.Offset
				}
				feeds = r.feeds
				if cp, err := checkpoint.Decode(meta, offset, topicID); err == nil {
					for i, c := range replays {
						if l := cp.Lanes[0]; int64(i) < l.Control && l.Replay == nil {
							done[c.ID] = true
						}
					}
				}
			}
			newest := map[string]int64{}
			for _, record := range feeds.log {
				newest[string(record.Key)] = record.Offset
			}
			require.Equal(t, newest, has)
		})
	}
}

// What is in flight lands before the replay pushes its key again.
func TestReplayWaitsForWhatIsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil))
		r.publish("k", "other")
		r.settlesAll(time.Minute)
		r.targets[0].set(func(context.Context, *connector.Delivery) error { // deaf to its context
			<-time.After(5 * time.Second)
			return nil
		})
		r.publish("k")
		synctest.Wait()
		r.Obey(0, replayOf("c1", 0, 0))
		r.settlesAll(time.Minute)
		require.NotEmpty(t, r.targets[0].ids("c1"))
		require.Empty(t, r.targets[0].overlap)
		require.IsNonDecreasing(t, r.targets[0].offsets("k"))
	})
}

// A replay of another partition does not stop the lane here: it only moves on in the
// control topic, so that a restart does not look at the command again.
func TestReplayLeavesOtherPartitionsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.publish("k")
		r.settlesAll(time.Minute)
		r.pause(0, true)
		r.publish("k")
		synctest.Wait()
		lane := r.p.lanes[0]
		c := replayOf("c1", 0, 0)
		c.Ranges[0].Partition = 1
		r.Obey(0, c)
		synctest.Wait()
		require.Same(t, lane, r.p.lanes[0])
		require.True(t, r.attached(0))
		require.True(t, r.p.Dirty())
		require.EqualValues(t, 1, r.lane(t, 0).Control)
	})
}

// What was to be replayed has left the log, so the lane has no more to gather than it had.
// A redelivery that settles before the first event finds the replay to be over.
func TestReplayOfWhatHasLeftTheLogGathersNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(smallWindow))
		for range 30 {
			r.publish("k")
			synctest.Wait()
		}
		r.targets[0].set(func(ctx context.Context, _ *connector.Delivery) error { return pause(ctx, time.Hour) })
		r.Obey(0, replayOf("c1", 0, 0))
		synctest.Wait()
		offset, meta := r.checkpoint()
		r.p.Abort()
		again := newRig(t, withTarget(smallWindow), resumeFrom(offset, meta), ordered(replayOf("c1", 0, 0)), logStart(30))
		again.proving()
		require.Equal(t, []string{receipt.Delivered}, again.redeliver(Again{Record: record(7, "other"), Target: "target0", Command: "c2"}))
		for n := range 30 {
			again.publish(fmt.Sprint("k", n))
		}
		again.settlesAll(time.Minute)
	})
}

// A feed may bury a record in a lane that just then gives way. Its receipt is handed over
// or not counted: who waits until all is proven would else wait for ever.
func TestLaneThatGivesWayOwesAllItsReceipts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for range 200 {
			l := r.p.lanes[0]
			var feeds sync.WaitGroup
			for from := range int64(4) {
				feeds.Go(func() {
					for n := int64(0); l.ctx.Err() == nil; n++ {
						l.bury(l.ctx, record(1+from+4*n, "k"), errRefused)
					}
				})
			}
			owed := l.handOver()
			feeds.Wait()
			require.EqualValues(t, len(owed), r.p.unsaved.count.Swap(0))
			r.p.Abort()
			r.assign(Assignment{Topic: "policies", TopicID: topicID})
		}
	})
}

// While a replay of one target begins, that of another may be over: for the race detector.
func TestReplayBeginsWhileAnotherEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil))
		for i := range r.targets {
			r.targets[i].set(func(ctx context.Context, _ *connector.Delivery) error { return pause(ctx, time.Second) })
		}
		for n := range int64(30) {
			r.publish("k")
			r.settlesAll(time.Minute)
			r.Obey(2*n, replayOf(fmt.Sprint("c", n), 0, n))
			r.publish("other") // which target1 lands just when the replay of target0 is over
			synctest.Wait()
			r.Obey(2*n+1, replayOf(fmt.Sprint("d", n), 1, n))
			r.settlesAll(time.Minute)
		}
	})
}

// What a replay still has to push may lie far below its end, and nothing need come after
// it: a member that takes it over has then gathered all of it.
func TestReplayIsTakenOverNearItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil))
		for n := range 100 {
			r.publish(fmt.Sprint("k", n))
		}
		r.settlesAll(time.Minute)
		r.targets[0].set(func(_ context.Context, d *connector.Delivery) error {
			if d.Event.Offset == 10 {
				return errServer
			}
			return nil
		})
		r.Obey(0, replayOf("c1", 0, 0))
		<-time.After(time.Second)
		offset, meta := r.checkpoint()
		require.EqualValues(t, 10, offset)
		r.p.Abort()
		again := newRig(t, withTarget(nil), resumeFrom(offset, meta), history(r.feeds.log), ordered(replayOf("c1", 0, 0)))
		for _, old := range r.feeds.log[10:] {
			again.next = old.Offset + 1
			again.p.Take([]*event.Record{old}, 0, again.next)
		}
		again.settlesAll(time.Minute)
		require.Equal(t, []int64{10}, again.targets[0].ids("c1"))
	})
}

// What has settled is let go, also while later versions of its key wait.
func TestKeyForgetsItsFirstDelivery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.pause(0, true)
		r.publish("k", "k")
		synctest.Wait()
		target := r.Targets[0]
		target.mu.Lock()
		defer target.mu.Unlock()
		q := r.p.lanes[0].keys["k"]
		first := q.entries[0]
		q.remove(first)
		require.NotContains(t, q.one, first)
	})
}
