package checkpoint

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestCursorModel holds a cursor against a plain set of offsets under random
// schedules.
func TestCursorModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const span = 60
		start := rapid.Int64Range(0, 1<<40).Draw(t, "start")
		c, settled := New(start), map[int64]bool{}
		offset := rapid.Int64Range(start, start+span)
		isSettled := func(o int64) bool { return o < start || settled[o] }

		t.Repeat(map[string]func(*rapid.T){
			"settle": func(t *rapid.T) {
				o := offset.Draw(t, "offset")
				if err := c.Settle(o); isSettled(o) {
					require.ErrorIs(t, err, ErrSettled)
				} else {
					require.NoError(t, err)
				}
				settled[o] = true
			},
			"settle range": func(t *rapid.T) {
				from, to := offset.Draw(t, "from"), offset.Draw(t, "to")
				c.SettleRange(from, to)
				for o := from; o < to; o++ {
					settled[o] = true
				}
			},
			"forget": func(t *rapid.T) {
				from := rapid.Int64Range(start+span/2, start+span).Draw(t, "from")
				c.Forget(from)
				for o := from; o <= start+span; o++ {
					delete(settled, o)
				}
			},
			"record": func(t *rapid.T) {
				below := offset.Draw(t, "below")
				if !isSettled(below) {
					c.Record(below)
					require.True(t, len(c.free) == 0 || c.free[0].From > below)
				}
			},
			"record at": func(t *rapid.T) {
				if at := offset.Draw(t, "at"); isSettled(at) {
					c.RecordAt(at)
					require.True(t, c.Recorded(at))
				} else {
					require.False(t, c.Recorded(at))
				}
			},
			"go on with a copy": func(*rapid.T) {
				old := c
				c = c.Clone()
				old.SettleRange(start, start+span) // must not reach the copy
			},
			"": func(t *rapid.T) {
				next, highest := start, start
				for isSettled(next) {
					next++
				}
				for o := range settled {
					highest = max(highest, o+1)
				}
				require.Equal(t, next, c.Next())
				require.Equal(t, highest, c.Highest())
				for o := start + span + 2; o >= start-2; o-- {
					require.Equal(t, isSettled(o), c.Settled(o), "offset %d", o)
					want := max(o, start)
					for isSettled(want) {
						want++
					}
					require.Equal(t, want, c.NextUnsettled(o))
					for want = o; want > next && isSettled(want-1); {
						want--
					}
					require.Equal(t, max(want, next), max(c.EndOfUnsettled(o), next))
				}
				requireApart(t, c)
				require.Equal(t, c.cost(0, len(c.runs)), c.size)
			},
		})
	})
}

// requireApart checks that no run adjoins another: all that is settled below a
// hole is one run.
func requireApart(t require.TestingT, c *Cursor) {
	starts := map[int64]bool{}
	for _, s := range []spans{c.runs, c.free} {
		for _, r := range s {
			require.Less(t, r.From, r.To)
			starts[r.From] = true
		}
	}
	require.False(t, starts[c.next])
	for _, s := range []spans{c.runs, c.free} {
		for _, r := range s {
			require.False(t, starts[r.To], "run %v adjoins another", r)
		}
	}
}

// TestGapsTakeNoRoom shows what a transactional topic does: a marker after each
// record must not use up the share of a lane that has a record in trouble.
func TestGapsTakeNoRoom(t *testing.T) {
	t.Parallel()
	c := New(0)
	for o := int64(0); o < 10_000; o += 2 {
		c.SettleRange(o+1, o+2)
	}
	require.Empty(t, c.Runs())
	require.True(t, c.Admits(2, 9_999, 31, minShare*2))

	for o := int64(4); o < 10_000; o += 2 {
		require.NoError(t, c.Settle(o))
	}
	require.Equal(t, []Run{{From: 3, To: 10_000}}, c.Runs(), "records and the gaps between them are one run")
	require.NoError(t, c.Settle(2))
	require.NoError(t, c.Settle(0))
	require.Equal(t, int64(10_000), c.Next())
	require.Empty(t, c.Runs())
}

// TestAdmission runs a lane that asks before each first attempt: however the
// attempts settle, its runs stay within its share.
func TestAdmission(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// The run below the highest offered offset may still grow over a gap. Two
		// lengths that grow to their longest fit in what laneSize leaves.
		const slack = 2 * 8
		share := rapid.IntRange(minShare, 300).Draw(t, "share")
		c := New(0)
		var waiting, inFlight []int64
		offered := int64(-1)
		pick := func(t *rapid.T, from *[]int64) int64 {
			i := rapid.IntRange(0, len(*from)-1).Draw(t, "which")
			o := (*from)[i]
			*from = append((*from)[:i], (*from)[i+1:]...)
			return o
		}
		t.Repeat(map[string]func(*rapid.T){
			"offer": func(t *rapid.T) {
				for range rapid.IntRange(1, 200).Draw(t, "records") {
					gap := rapid.SampledFrom([]int64{0, 0, 0, 1, 200, 20_000}).Draw(t, "gap")
					c.SettleRange(offered+1, offered+1+gap)
					offered += gap + 1
					waiting = append(waiting, offered)
				}
			},
			"start": func(t *rapid.T) {
				for i := 0; i < len(waiting); {
					o := waiting[i]
					if !c.Admits(o, offered, len(inFlight), share) {
						break
					}
					if rapid.Bool().Draw(t, "hold") { // its key is busy
						i++
						continue
					}
					inFlight = append(inFlight, o)
					waiting = append(waiting[:i], waiting[i+1:]...)
				}
			},
			"settle": func(t *rapid.T) {
				for n := len(inFlight); n > 1; n-- { // one stays, as one in trouble would
					require.NoError(t, c.Settle(pick(t, &inFlight)))
				}
			},
			"": func(t *rapid.T) { require.LessOrEqual(t, c.size, share+slack) },
		})
	})
}

func BenchmarkSettle(b *testing.B) {
	for _, gap := range []int64{0, 1} {
		b.Run(map[int64]string{0: "dense", 1: "with markers"}[gap], func(b *testing.B) {
			const window = 5000
			c, step := New(0), gap+1
			for o := int64(0); o < window*step; o += step {
				c.SettleRange(o+1, o+step)
			}
			b.ReportAllocs()
			for b.Loop() { // two settle, the higher first, below a window of waiting ones
				low := c.Next()
				for o := low + window*step; o < low+(window+2)*step; o += step {
					c.SettleRange(o+1, o+step)
				}
				if c.Settle(low+step) != nil || c.Settle(low) != nil {
					b.Fatal("settled twice")
				}
			}
		})
	}
}

// What is reopened has not settled, all else is as it was.
func TestReopen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		offset := rapid.Int64Range(0, 30)
		c := New(offset.Draw(t, "next"))
		for _, o := range rapid.SliceOf(offset).Draw(t, "settled") {
			_ = c.Settle(o) // some have
		}
		before := c.Clone()
		from, to := offset.Draw(t, "from"), offset.Draw(t, "to")
		c.Reopen(from, to)
		for o := range int64(40) {
			require.Equal(t, before.Settled(o) && (o < from || o >= to), c.Settled(o), "offset %d", o)
		}
		require.Equal(t, c.cost(0, len(c.runs)), c.size)
	})
}
