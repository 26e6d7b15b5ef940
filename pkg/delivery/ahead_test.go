package delivery

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/mapping"
	"github.com/hms-sme/policysync/pkg/receipt"
	"github.com/hms-sme/policysync/pkg/route"
)

// narrow is a `latest` target with room for few of the keys that change.
func narrow(s *Settings) {
	latest(s)
	s.Window.Deliveries = 100
	s.Concurrency, s.Breaker.MinRequests, s.Breaker.OpenMax = 2, 2, 5*time.Second
}

// inTurn publishes so many versions of each key, one key after the other.
func (r *rig) inTurn(keys, versions int) {
	for range versions {
		for key := range keys {
			r.publish(fmt.Sprint("k", key))
		}
	}
}

// Promise: after an outage a target gets the newest version of each key and no other,
// however many more keys have changed than its window holds; beside another target, alone,
// and where the process that saw the outage is gone.
func TestLatestCatchesUpByKeysBeyondItsWindow(t *testing.T) {
	t.Parallel()
	const keys, versions = 1000, 6
	for name, targets := range map[string][]rigOption{
		"beside another":  {withTarget(narrow), withTarget(nil)},
		"beside its like": {withTarget(narrow), withTarget(narrow)},
		"alone":           {withTarget(narrow)},
	} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, killed %v", name, killed), func(t *testing.T) {
				t.Parallel()
				var offset int64
				var meta string
				var log []*event.Record
				back := func(t *testing.T, r *rig) {
					t.Helper()
					for _, target := range r.targets {
						target.set(accepted)
					}
					r.settlesAll(10 * time.Minute)
					c := r.targets[0]
					require.LessOrEqual(t, len(c.offsets("")), keys+2, "what was attempted may be sent twice")
					for key := range keys {
						offsets := c.offsets(fmt.Sprint("k", key))
						require.Equal(t, int64(keys*(versions-1)+key), offsets[len(offsets)-1])
					}
					c.inOrder(t)
					require.True(t, r.attached(0))
					require.Zero(t, r.notes.held.Load())
				}
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, targets...)
					r.targets[0].set(refused)
					if name == "beside its like" {
						r.targets[1].set(refused)
					}
					for range versions {
						r.inTurn(keys, 1)
						synctest.Wait()
						offset, meta = r.checkpoint()
					}
					<-time.After(time.Minute)
					if !killed {
						back(t, r)
						return
					}
					offset, meta = r.checkpoint()
					r.p.Abort()
					log = r.feeds.log
				})
				if !killed {
					return
				}
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, append(targets, resumeFrom(offset, meta), history(log))...)
					r.targets[0].set(refused)
					if name == "beside its like" {
						r.targets[1].set(refused)
					}
					for _, old := range log[r.next:] {
						r.p.Take([]*event.Record{old}, 0, old.Offset+1)
					}
					r.next = int64(len(log))
					<-time.After(time.Minute)
					back(t, r)
				})
			})
		}
	}
}

// Only a version that the target wants has older ones give way: not one that is filtered,
// nor one that nobody can read, nor one of which nobody knows.
func TestLatestGivesWayOnlyToWhatTheTargetWants(t *testing.T) {
	t.Parallel()
	for name, newer := range map[string]route.Verdict{
		"filtered":           {},
		"a dead letter":      {Err: errors.New("filter failed")},
		"not known, waiting": {Err: &mapping.SchemaError{ID: 9, Err: errors.New("undefined field")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTarget(narrow), routedBy(routerFunc(func(ev *event.Event) route.Verdict {
					if ev.Offset >= 2000 {
						return newer
					}
					return route.Verdict{Deliver: true}
				})))
				c := r.targets[0]
				c.set(refused)
				r.inTurn(1000, 2)
				r.inTurn(500, 1)
				<-time.After(time.Minute)
				c.set(accepted)
				<-time.After(10 * time.Minute)
				synctest.Wait()
				require.LessOrEqual(t, len(c.offsets("")), 1000+2)
				for key := range 1000 {
					offsets := c.offsets(fmt.Sprint("k", key))
					require.Equal(t, int64(1000+key), offsets[len(offsets)-1])
				}
			})
		})
	}
}

type routerFunc func(*event.Event) route.Verdict

func (f routerFunc) Route(ev *event.Event) route.Decision {
	return route.Decision{Targets: []route.Verdict{f(ev)}}
}

// What gave way beyond the window has a receipt while what replaced it still waits, and is
// counted in that one's receipt.
func TestLatestCountsWhatGaveWayBeyondItsWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(narrow))
		r.targets[0].set(refused)
		r.inTurn(500, 8)
		<-time.After(time.Minute)
		synctest.Wait()
		c, err := r.p.Checkpoint()
		require.NoError(t, err)
		gaveWay := 0
		for _, last := range c.Receipts {
			require.Equal(t, receipt.Superseded, last.Outcome)
			gaveWay += last.Superseded
		}
		require.NotZero(t, gaveWay)
		require.EqualValues(t, gaveWay, r.Snapshot().Targets[0].Settled[receipt.Superseded])

		r.targets[0].set(accepted)
		<-time.After(10 * time.Minute)
		synctest.Wait()
		c, err = r.p.Checkpoint()
		require.NoError(t, err)
		settled := len(r.targets[0].offsets(""))
		require.LessOrEqual(t, settled, 502)
		for _, held := range c.Receipts {
			require.Equal(t, receipt.Delivered, held.Outcome)
			settled += held.Superseded
		}
		require.Equal(t, 4000, settled)
	})
}

// A key that changes all the time is put off beyond the window once, not for ever.
func TestLatestPutsOffNoKeyForEverBeyondItsWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { narrow(s); smallWindow(s); s.Concurrency = 1 }))
		c := r.targets[0]
		c.set(func(ctx context.Context, _ *connector.Delivery) error { return pause(ctx, time.Second) })
		for i := range 2000 { // more than the target can take
			r.publish("hot", fmt.Sprint(i%100), fmt.Sprint((i+50)%100))
			<-time.After(time.Second)
		}
		require.Greater(t, len(c.offsets("hot")), 6, "once in a few rounds of the others")
		require.Less(t, len(c.offsets("hot")), 100)
		c.set(accepted)
		r.settlesAll(time.Minute)
		c.inOrder(t)
	})
}

// Without memory for more notes more versions are pushed, and none is lost; the live feed
// then waits for the lane if it feeds nobody else.
func TestLatestWithoutMemoryToLookAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const memory = 300 * 16 * noteSize
		r := newRig(t, withTarget(narrow), within(memory))
		c := r.targets[0]
		c.set(refused)
		r.inTurn(1000, 5)
		<-time.After(time.Minute)
		synctest.Wait()
		held := r.notes.held.Load()
		require.Greater(t, held, int64(memory/16*9/10))
		require.LessOrEqual(t, held, int64(memory/16))
		require.Less(t, r.p.passed(), int64(600), "it looks no further than it can remember")
		c.set(accepted)
		r.settlesAll(10 * time.Minute)
		for key := range 1000 {
			offsets := c.offsets(fmt.Sprint("k", key))
			require.Equal(t, int64(4000+key), offsets[len(offsets)-1])
		}
		c.inOrder(t)
		require.Zero(t, r.notes.held.Load())
		require.True(t, r.p.lanes[0].looksAhead(), "the next time too")
	})
}

// During an outage nothing is read for the window of a target, though most of what it held
// gave way: only the live feed looks ahead.
func TestLatestReadsOnceDuringAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(narrow))
		r.targets[0].set(refused)
		for range 10 {
			r.inTurn(1000, 1)
			<-time.After(time.Hour)
			r.checkpoint()
		}
		synctest.Wait()
		require.Equal(t, r.next, r.p.passed())
		require.Less(t, r.Snapshot().Targets[0].Lanes[0].Deliveries, 5)
		_, opened := r.feeds.counts()
		require.Zero(t, opened)
	})
}

// A lane that begins behind the live feed looks ahead first, but does not wait for a
// record that may never come: the last offsets of a log may have none.
func TestLatestLooksAheadUpToOffsetsWithoutRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log []*event.Record
		for offset := range int64(1000) {
			log = append(log, record(offset, fmt.Sprint(offset%200)))
		}
		behind := checkpoint.Lane{Name: "target0", Cursor: checkpoint.New(0), Control: -1}
		other := checkpoint.Lane{Name: "target1", Cursor: checkpoint.New(1010), Control: -1}
		meta, _, err := checkpoint.Encode(&checkpoint.Checkpoint{
			TopicID: topicID, LeaderEpoch: -1, Lanes: []checkpoint.Lane{behind, other},
		}, checkpoint.DefaultLimit)
		require.NoError(t, err)
		r := newRig(t, withTarget(narrow), withTarget(nil), resumeFrom(0, meta), history(log),
			assigned(func(a *Assignment) { a.LogEnd = 1010 }))
		<-time.After(time.Minute)
		synctest.Wait()
		require.Len(t, r.targets[0].offsets(""), 200)
	})
}

// A replay of a range is not cut short by newer versions above it, which have settled.
func TestLatestReplaysARangeLargerThanItsWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(narrow), withTarget(nil))
		r.inTurn(500, 4)
		r.settlesAll(time.Minute)
		c, to := replayOf("c1", 0, 0), int64(1000)
		c.Ranges[0].To = &to
		r.Obey(0, c)
		r.settlesAll(10 * time.Minute)
		again := r.targets[0].ids("c1")
		require.Len(t, again, 500)
		for _, offset := range again {
			require.GreaterOrEqual(t, offset, int64(500))
			require.Less(t, offset, to)
		}
	})
}

// What can't be sent, since its filter does not compile, is nothing to ask a target by
// that was down: if nothing else is left in the window more is read.
func TestLatestIsAskedAlthoughTheWindowHoldsNothingToSend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(narrow), routedBy(routerFunc(func(ev *event.Event) route.Verdict {
			if ev.Offset == 0 {
				return route.Verdict{Err: &mapping.SchemaError{ID: 9, Err: errors.New("undefined field")}}
			}
			return route.Verdict{Deliver: true}
		})))
		c := r.targets[0]
		c.set(refused)
		r.publish("unknown")
		for range 3 {
			r.inTurn(500, 1)
			<-time.After(time.Hour)
		}
		c.set(accepted)
		<-time.After(time.Hour)
		synctest.Wait()
		require.GreaterOrEqual(t, len(c.offsets("")), 500)
	})
}

// A target that is paused keeps the newest versions only, and gets them when it is resumed.
func TestLatestLooksAheadOfAPausedTarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(narrow), withTarget(nil))
		r.pause(0, true)
		r.inTurn(500, 4)
		<-time.After(time.Hour)
		synctest.Wait()
		_, opened := r.feeds.counts()
		require.Zero(t, opened)
		r.pause(0, false)
		r.settlesAll(time.Minute)
		require.LessOrEqual(t, len(r.targets[0].offsets("")), 501)
	})
}

// What backs off for its own failures does not give way to what is beyond the window: its
// key would be asked for at once again. That the target was away is no failure of a key.
func TestLatestKeepsTheBackOffOfAKeyBeyondItsWindow(t *testing.T) {
	t.Parallel()
	for waiting, failure := range map[int]error{2: errServer, 1: connector.AsUnavailable(errors.New("connection refused"))} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, withTarget(narrow))
			r.targets[0].set(func(context.Context, *connector.Delivery) error { return failure })
			r.push("hot", "other")
			r.p.lanes[0].note(&event.Event{Record: record(50, "hot"), Key: "hot", HasKey: true})
			require.Equal(t, waiting, r.Snapshot().Targets[0].Lanes[0].Deliveries, failure.Error())
		})
	}
}
