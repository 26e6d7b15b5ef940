package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/event"
)

// cancelled is the tombstone of a replay.
func cancelled(id string) *control.Replay { return &control.Replay{ID: id} }

// amidReplay is a rig that replays what it has had of 100 events from 30 on, one a second,
// and has pushed ten. When the replay began, the target lacked 85, which fails, and had no
// more than begun with those from 90 on.
func amidReplay(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, withTarget(func(s *Settings) { s.Concurrency, s.Retry.MaxAttempts = 1, 1000 }), withTarget(nil))
	failing := atomic.Bool{}
	failing.Store(true)
	r.targets[0].set(func(ctx context.Context, d *connector.Delivery) error {
		switch {
		case d.Key == "k85" && failing.Load():
			return errServer
		case d.Event.Offset < 90 && strings.HasSuffix(d.ID, "/target0"):
			return nil
		}
		return pause(ctx, time.Second)
	})
	for n := range 100 {
		r.publish(fmt.Sprint("k", n))
	}
	for len(r.targets[0].offsets("k90")) == 0 {
		<-time.After(time.Second)
	}
	failing.Store(false)
	r.Obey(0, replayOf("c1", 0, 30))
	for len(r.targets[0].ids("c1")) < 10 {
		<-time.After(time.Second)
	}
	return r
}

// hasAll requires that each event was delivered, by one of the lives of a target.
func hasAll(t *testing.T, lives ...*recordingConnector) {
	t.Helper()
	for n := range 100 {
		count := 0
		for _, life := range lives {
			count += len(life.offsets(fmt.Sprint("k", n)))
		}
		require.NotZero(t, count, n)
	}
}

// A cancelled replay sends no more than what was in flight, and what stood above the
// target's former position, which nobody knows any more. Nothing that it lacked is lost.
func TestCancelEndsAReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := amidReplay(t)
		r.Obey(1, cancelled("c1"))
		r.settlesAll(time.Minute)
		// Of the 62: ten, one in flight, and 85 to 91; each wait may see one more.
		require.Less(t, len(r.targets[0].ids("c1")), 22)
		hasAll(t, r.targets[0])
		require.Len(t, r.targets[1].tried(), 100, "the other target notices nothing")
		l := r.lane(t, 0)
		require.Nil(t, l.Replay)
		require.EqualValues(t, 100, l.Cursor.Next())
		r.Obey(2, replayOf("c2", 0, 90))
		r.settlesAll(time.Minute)
		require.Len(t, r.targets[0].ids("c2"), 10, "another replay is obeyed")
	})
}

// The cancel is known from the topic and the checkpoint: also where the owner has crashed
// before it could obey, and its follower finds only the rest of a compacted topic.
func TestCancelHoldsOverACrash(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]struct {
		topic []*control.Replay
		ends  bool
	}{
		"the tombstone is there":                 {[]*control.Replay{replayOf("c1", 0, 30), cancelled("c1")}, true},
		"both are compacted away":                {[]*control.Replay{cancelled("another")}, true},
		"the command stands":                     {[]*control.Replay{replayOf("c1", 0, 30)}, false},
		"the member has not read so far":         {nil, false},
		"another command of the target was none": {[]*control.Replay{replayOf("c1", 0, 30), replayOf("c2", 0, 1000)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := amidReplay(t)
				offset, meta := r.checkpoint()
				r.p.Abort()
				again := newRig(t, withTarget(nil), withTarget(nil), resumeFrom(offset, meta), history(r.feeds.log), ordered(after.topic...))
				for _, old := range r.feeds.log[again.next:] {
					again.next = old.Offset + 1
					again.p.Take([]*event.Record{old}, 0, again.next)
				}
				again.settlesAll(time.Minute)
				if after.ends {
					require.Less(t, len(again.targets[0].ids("c1")), 10)
				} else {
					require.Greater(t, len(again.targets[0].ids("c1")), 40)
				}
				hasAll(t, r.targets[0], again.targets[0])
				require.Nil(t, again.lane(t, 0).Replay)
			})
		})
	}
}

// A second replay takes up what is left of the first; cancelled, the target still goes
// back to where it was before both.
func TestCancelOfASecondReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := amidReplay(t)
		r.Obey(1, replayOf("c2", 0, 10))
		<-time.After(5 * time.Second)
		r.Obey(2, cancelled("c1"))
		<-time.After(5 * time.Second)
		require.NotEmpty(t, r.targets[0].ids("c2"), "the first is part of it, and nothing any more")
		r.Obey(3, cancelled("c2"))
		r.settlesAll(time.Minute)
		require.Less(t, len(r.targets[0].ids("c2")), 25)
		hasAll(t, r.targets[0])
	})
}

// Wherever replays are cancelled and the engine is killed, each policy ends at its newest
// version, and no version comes after a newer one.
func TestCancelLosesNothing(t *testing.T) {
	t.Parallel()
	for range 30 {
		synctest.Test(t, func(t *testing.T) {
			var topic []*control.Replay
			var offset int64
			var meta string
			feeds := &memoryFeeds{}
			has := map[string]int64{}
			for life := range 8 {
				r := newRig(t, withTarget(func(s *Settings) { s.Retry.MaxAttempts = 1000 }), withTarget(nil),
					resumeFrom(offset, meta), history(feeds.log), ordered(topic...))
				r.targets[0].set(sometimes(0.2, errServer))
				start := r.next
				for _, old := range feeds.log {
					if r.next = old.Offset + 1; old.Offset >= start {
						r.p.Take([]*event.Record{old}, 0, r.next)
					}
				}
				give := func(c *control.Replay) {
					r.Obey(int64(len(topic)), c)
					topic = append(topic, c)
				}
				for range 6 {
					for range rand.N(30) {
						r.publish(fmt.Sprint("k", rand.N(8)))
					}
					<-time.After(rand.N(time.Second))
					switch {
					case rand.N(2) == 0 && r.next > 0:
						give(replayOf(fmt.Sprint("c", len(topic)), 0, rand.N(r.next)))
					case len(topic) > 0:
						give(cancelled(topic[len(topic)-1].ID))
					}
					<-time.After(rand.N(time.Second))
					if rand.N(2) == 0 {
						synctest.Wait()
						offset, meta = r.checkpoint()
					}
				}
				if life == 7 {
					r.settlesAll(time.Hour)
					require.Nil(t, r.lane(t, 0).Replay)
				}
				r.p.Abort()
				synctest.Wait()
				for key := range 8 {
					require.IsNonDecreasing(t, append([]int64{0}, r.targets[0].offsets(fmt.Sprint("k", key))...))
				}
				for _, d := range r.targets[0].applied {
					has[d.Key] = d.Event.Offset
				}
				feeds = r.feeds
			}
			newest := map[string]int64{}
			for _, record := range feeds.log {
				newest[string(record.Key)] = record.Offset
			}
			require.Equal(t, newest, has)
		})
	}
}
