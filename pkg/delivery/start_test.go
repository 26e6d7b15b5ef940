package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/event"
)

func from(s Start) rigOption { return withTarget(func(t *Settings) { t.Start = s }) }

// cursors makes the metadata of a commit; lanes are named as the rig's targets are,
// and each has settled some runs above its next offset.
func cursors(t *testing.T, topic event.TopicID, committed int64, epoch int32, lanes map[string][]int64) string {
	t.Helper()
	cp := &checkpoint.Checkpoint{TopicID: topic, Committed: committed, LeaderEpoch: epoch}
	for name, at := range lanes {
		c := checkpoint.New(at[0])
		for _, offset := range at[1:] {
			require.NoError(t, c.Settle(offset))
		}
		cp.Lanes = append(cp.Lanes, checkpoint.Lane{Name: name, Cursor: c})
	}
	meta, cut, err := checkpoint.Encode(cp, checkpoint.DefaultLimit)
	require.NoError(t, err)
	require.Empty(t, cut)
	return meta
}

// held reads the cursors that the rig would commit now: next, then what is settled above.
func (r *rig) held() map[string][]int64 {
	r.t.Helper()
	offset, meta := r.checkpoint()
	cp, err := checkpoint.Decode(meta, offset, topicID)
	require.NoError(r.t, err)
	held := map[string][]int64{}
	for _, l := range cp.Lanes {
		held[l.Name] = []int64{l.Cursor.Next()}
		for _, run := range l.Cursor.Runs() {
			for offset := run.From; offset < run.To; offset++ {
				held[l.Name] = append(held[l.Name], offset)
			}
		}
	}
	return held
}

func TestWhereLanesStart(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	now, earliest, timed := from(Start{}), from(Start{Earliest: true}), from(Start{At: day})
	one := func(at ...int64) map[string][]int64 { return map[string][]int64{"target0": at} }
	for _, row := range []struct {
		name    string
		targets []rigOption
		change  func(a *Assignment)
		want    map[string][]int64
		commit  int64
		says    string
	}{
		{
			"a new group starts at the log's start, but for a target with a time of its own",
			[]rigOption{now, earliest, timed},
			func(a *Assignment) { a.Committed = -1 },
			map[string][]int64{"target0": {10}, "target1": {10}, "target2": {60}},
			10,
			"level=WARN msg=\"the group has no committed offset here",
		},
		{
			"in an added partition the time does not count",
			[]rigOption{now, timed},
			func(a *Assignment) { a.Committed, a.Added = -1, true },
			map[string][]int64{"target0": {10}, "target1": {10}},
			10,
			"level=WARN msg=\"this partition is new to the group",
		},
		{
			"without cursors all start at the committed offset, as an operator wants who has set it",
			[]rigOption{now, earliest, timed},
			func(a *Assignment) { a.Committed = 30 },
			map[string][]int64{"target0": {30}, "target1": {30}, "target2": {30}},
			30,
			"the commit carries no cursors",
		},
		{
			"so they do if the cursors are damaged",
			[]rigOption{now, earliest},
			func(a *Assignment) { a.Committed, a.Metadata = 30, "AAAA" },
			map[string][]int64{"target0": {30}, "target1": {30}},
			30,
			"level=ERROR msg=\"the commit's cursors are not usable",
		},
		{
			"or were made for another offset, by whom ever",
			[]rigOption{now},
			func(a *Assignment) { a.Committed, a.Metadata = 30, cursors(t, topicID, 20, 0, one(20)) },
			one(30), 30, "level=ERROR msg=\"the commit's cursors are not usable",
		},
		{
			"a commit of a former topic says nothing of this one",
			[]rigOption{now, timed},
			func(a *Assignment) {
				a.Committed, a.Metadata = 30, cursors(t, event.TopicID{9}, 30, 0, one(30))
			},
			map[string][]int64{"target0": {10}, "target1": {10}},
			10,
			"level=ERROR msg=\"the commit's cursors are not usable, nor is its offset",
		},
		{
			"a target that the cursors lack starts where it says",
			[]rigOption{now, now, earliest, timed},
			func(a *Assignment) {
				a.Committed, a.Metadata = 30, cursors(t, topicID, 30, 0, map[string][]int64{"target0": {30, 33}, "gone": {80}})
			},
			map[string][]int64{"target0": {30, 33}, "target1": {80}, "target2": {10}, "target3": {60}, "gone": {80}},
			10,
			"target=target3 start=2026-11-01T00:00:00Z offset=60",
		},
		{
			"a target that the cursors have does not, whatever it says",
			[]rigOption{earliest},
			func(a *Assignment) { a.Committed, a.Metadata = 30, cursors(t, topicID, 30, 0, one(30, 32)) },
			one(30, 32), 30, "",
		},
		{
			"what retention took is lost for those who had not settled it",
			[]rigOption{now, now},
			func(a *Assignment) {
				a.Committed, a.Metadata = 4, cursors(t, topicID, 4, 0, map[string][]int64{"target0": {4, 6, 7}, "target1": {12}})
			},
			map[string][]int64{"target0": {10}, "target1": {12}},
			10,
			"target=target0 from=8 to=9",
		},
		{
			"one that nobody serves here keeps its place below the log's start",
			[]rigOption{now},
			func(a *Assignment) {
				a.Committed, a.Metadata = 40, cursors(t, topicID, 40, 0, map[string][]int64{"target0": {40}, "gone": {4, 6}})
			},
			map[string][]int64{"target0": {40}, "gone": {4, 6}},
			40, "",
		},
		{
			"where the log was cut, all goes back to there, and what is carried on for others to the start: it may be latest",
			[]rigOption{now, now},
			func(a *Assignment) {
				a.Committed, a.Metadata = 30, cursors(t, topicID, 30, 1,
					map[string][]int64{"target0": {30, 39, 40, 44}, "target1": {50}, "gone": {45}})
			},
			map[string][]int64{"target0": {30, 39}, "target1": {40}, "gone": {10}},
			30,
			"level=ERROR msg=\"target goes back\" topic=policies partition=0 target=target0 from=40 to=44",
		},
		{
			"with deliver: latest to the log's start, since what waited may have replaced anything",
			[]rigOption{withTarget(latest), now},
			func(a *Assignment) {
				a.Committed, a.Metadata = 30, cursors(t, topicID, 30, 1, map[string][]int64{"target0": {30, 33}, "target1": {50}})
			},
			map[string][]int64{"target0": {10}, "target1": {40}},
			10,
			"level=ERROR msg=\"target goes back\" topic=policies partition=0 target=target0 from=10 to=33",
		},
		{
			"also when the log has grown beyond that again",
			[]rigOption{now},
			func(a *Assignment) {
				a.Committed, a.Metadata, a.LogEnd = 50, cursors(t, topicID, 50, 1, one(50)), 1000
			},
			one(40), 40, "from=40 to=49",
		},
		{
			"and to the log's start, if the log has never known the epoch",
			[]rigOption{now},
			func(a *Assignment) { a.Committed, a.Metadata = 50, cursors(t, topicID, 50, 7, one(50)) },
			one(10), 10, "from=10 to=49",
		},
		{
			"or if a commit beyond the end has no epoch",
			[]rigOption{now},
			func(a *Assignment) { a.Committed = 101 },
			one(10), 10, "from=10 to=100",
		},
		{
			"a cut above all cursors is nobody's",
			[]rigOption{now},
			func(a *Assignment) { a.Committed, a.Metadata = 40, cursors(t, topicID, 40, 1, one(40)) },
			one(40), 40, "",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				log := &fakeLog{ends: map[int32]int64{1: 40, 7: -1}, times: map[time.Time]int64{day: 60}}
				r := newRig(t, append(row.targets, onLog(log), logTo(&out), assigned(func(a *Assignment) {
					a.LogStart, a.LogEnd = 10, 100
					row.change(a)
				}))...)
				synctest.Wait()
				require.Contains(t, out.String(), row.says)
				if row.says == "" {
					require.NotContains(t, out.String(), "level=ERROR")
				}
				require.Equal(t, row.says != "", r.p.Dirty(), "it must reach the broker, though nothing settles")
				require.Equal(t, row.commit, r.committable())
				require.Equal(t, row.want, r.held())
			})
		})
	}
}

// Without an answer of the broker nothing begins, since it might begin at the wrong
// offset.
func TestAssignFailsWithItsSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, from(Start{At: time.Now()}))
		r.log.fail = errors.New("broker is away")
		for _, a := range []Assignment{
			{Topic: "policies", TopicID: topicID, Committed: -1},
			{Topic: "policies", TopicID: topicID, Committed: 3, Metadata: cursors(t, topicID, 3, 0, map[string][]int64{"target0": {3}})},
		} {
			_, err := r.Assign(t.Context(), a, r.log)
			require.ErrorIs(t, err, r.log.fail)
		}
	})
}

// A record that another leader has written where one was read already proves that the
// log was cut. What had settled there counts no more, what comes in its place does.
func TestLogIsCutWhileItIsRead(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		find func(r *rig)
	}{
		{"the live feed finds it", func(r *rig) { r.p.Take(written(r.feeds.log[5:], 1), 0, 12) }},
		{"a catch-up feed finds it", func(r *rig) {
			r.feeds.replace(5, written(r.feeds.log[5:], 1))
			r.targets[1].set(accepted)
			<-time.After(10 * time.Second)
		}},
		{"the client finds it", func(r *rig) { r.p.Diverge(errors.New("data loss")) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tiny := withTarget(func(s *Settings) { smallWindow(s); s.Window.Deliveries = 2 })
				r := newRig(t, tiny, tiny)
				r.targets[1].set(refused)
				for i := range 12 {
					r.publish(fmt.Sprint(i))
				}
				<-time.After(time.Second)
				synctest.Wait()
				require.Len(t, r.targets[0].offsets(""), 12)
				require.False(t, r.attached(1))

				row.find(r)
				r.p.Take(written(r.feeds.log[11:], 1), 0, 12)
				synctest.Wait()
				require.Len(t, r.log.diverged, 1)
				r.p.Drain(time.Minute)
				a := r.p.Assignment
				a.Committed, a.Metadata = r.checkpoint()
				require.LessOrEqual(t, a.Committed, int64(5))

				r.feeds.replace(5, written(r.feeds.log[5:], 1))
				r.log.ends = map[int32]int64{0: 5}
				a.LogEnd, a.EndEpoch = 12, 1
				r.targets[1].set(accepted)
				r.assign(a)
				require.Equal(t, int64(5), r.next)
				r.next = 12
				r.p.Take(r.feeds.log[5:], 0, 12)
				r.settlesAll(time.Minute)
				require.ElementsMatch(t, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 5, 6, 7, 8, 9, 10, 11}, r.targets[0].offsets(""))
				epochs := map[int64]int32{}
				for _, d := range r.targets[1].applied {
					epochs[d.Event.Offset] = d.Event.LeaderEpoch
				}
				require.Equal(t, map[int64]int32{0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1, 10: 1, 11: 1}, epochs)
			})
		})
	}
}

// written are the same records, written by another leader.
func written(records []*event.Record, epoch int32) []*event.Record {
	var anew []*event.Record
	for _, r := range records {
		other := *r
		other.LeaderEpoch = epoch
		anew = append(anew, &other)
	}
	return anew
}

// A target with a time to start from may lie ahead of all that was ever read. What
// nobody can read below that becomes a letter all the same.
func TestUnreadableBelowTheFirstStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		day := time.Now()
		r := newRig(t, from(Start{}), from(Start{At: day}), onLog(&fakeLog{times: map[time.Time]int64{day: 2}}),
			history([]*event.Record{record(0, "a"), record(1, "garbage"), record(2, "b")}),
			assigned(func(a *Assignment) { a.Committed, a.LogEnd = -1, 3 }))
		require.Equal(t, int64(2), r.next)
		r.p.Take(r.feeds.log[2:], 0, 3)
		r.next = 3
		r.settlesAll(time.Minute)
		require.ElementsMatch(t, []int64{0, 2}, r.targets[0].offsets(""), "of two keys")
		require.Equal(t, []int64{2}, r.targets[1].offsets(""))
		require.Len(t, r.letters.all(), 1)
	})
}

func TestStartAsText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Start{
		"now": {}, "earliest": {Earliest: true},
		"2026-11-01":           {At: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
		"2026-11-01T06:30:00Z": {At: time.Date(2026, 11, 1, 6, 30, 0, 0, time.UTC)},
	} {
		got := Start{Earliest: true}
		require.NoError(t, got.UnmarshalText([]byte(text)))
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "latest", "yesterday", "2026-11", "2026-13-01", "2026-11-01 06:30"} {
		require.ErrorContains(t, new(Start).UnmarshalText([]byte(text)), "is no start: want now, earliest, a date")
	}
}

func TestEpochs(t *testing.T) {
	t.Parallel()
	var e epochs
	require.Equal(t, int32(-1), e.at(0))
	for _, row := range []struct {
		epoch  int32
		offset int64
		fits   bool
	}{
		{3, 10, true},
		{3, 20, true},
		{5, 40, true},
		{4, 30, true},   // read later, by a feed that is behind
		{3, 12, true},   // and again
		{5, 30, false},  // that one was epoch 4's
		{6, 40, false},  // and that one 5's
		{4, 41, false},  // after 5 there is no 4
		{-1, 1, true},   // who knows
		{6, 100, true},  //
		{2, 5, true},    //
		{7, 100, false}, //
	} {
		require.Equal(t, row.fits, e.see(row.epoch, row.offset), "epoch %d, offset %d", row.epoch, row.offset)
	}
	for offset, want := range map[int64]int32{0: 2, 5: 2, 6: 3, 20: 3, 21: 4, 31: 5, 100: 6, 101: -1} {
		require.Equal(t, want, e.at(offset), "offset %d", offset)
	}
}
