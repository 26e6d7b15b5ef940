package checkpoint

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hms-sme/policysync/pkg/event"
)

var topicID = event.TopicID{0: 0xA1, 15: 0x0F}

// settled returns a cursor at next with the given offsets settled.
func settled(t require.TestingT, next int64, offsets ...int64) *Cursor {
	c := New(next)
	for _, o := range offsets {
		require.NoError(t, c.Settle(o))
	}
	return c
}

func diff(want, got *Checkpoint) string {
	return cmp.Diff(want, got, cmp.AllowUnexported(Cursor{}))
}

// TestGolden keeps the format: what a released version wrote must stay readable.
func TestGolden(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		meta string
		cp   Checkpoint
	}{
		"no lanes": {
			meta: "AQChAAAAAAAAAAAAAAAAAAAPAQCeJAe1",
			cp:   Checkpoint{TopicID: topicID, LeaderEpoch: -1},
		},
		"lanes above, at and below the commit": {
			meta: "AegHoQAAAAAAAAAAAAAAAAAADwoDBmxlZ2FjeQAAAAIBAQICB3BhcnRuZXLHARUAAApzY2hlZHVsaW5n1AEBCWNtZC0wMDAxMgKIDqQNACLcF_g",
			cp: Checkpoint{
				TopicID: topicID, Committed: 1000, LeaderEpoch: 5,
				Lanes: []Lane{
					{Name: "legacy", Control: -1, Cursor: settled(t, 1000, 1001, 1004, 1005)},
					{Name: "partner", Control: 20, Cursor: New(900)},
					{
						Name: "scheduling", Cursor: New(1106),
						Replay: &Replay{CommandID: "cmd-00012", Mode: ReplayEvery, End: 1900, Former: 1850},
					},
				},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			meta, cut, err := Encode(&tc.cp, DefaultLimit)
			require.NoError(t, err)
			require.Empty(t, cut)
			require.Equal(t, tc.meta, meta)
			got, err := Decode(tc.meta, tc.cp.Committed, topicID)
			require.NoError(t, err)
			require.Empty(t, diff(&tc.cp, got))
		})
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	offset := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, math.MaxInt64-10_000))
	lane := rapid.Custom(func(t *rapid.T) Lane {
		l := Lane{
			Name:    rapid.StringN(1, 8, -1).Draw(t, "name"),
			Cursor:  New(offset.Draw(t, "next")),
			Control: rapid.Int64Range(-1, math.MaxInt64-1).Draw(t, "control"),
		}
		for o := l.Cursor.Next() + 1; rapid.Bool().Draw(t, "more"); o++ {
			o += rapid.Int64Range(0, 300).Draw(t, "hole")
			if err := l.Cursor.Settle(o); err != nil {
				t.Fatal(err)
			}
		}
		if rapid.Bool().Draw(t, "replay") {
			l.Replay = &Replay{
				CommandID: rapid.StringN(1, 8, -1).Draw(t, "command"),
				Mode:      rapid.SampledFrom([]ReplayMode{ReplayNewest, ReplayEvery}).Draw(t, "mode"),
				End:       offset.Draw(t, "end"),
				Former:    offset.Draw(t, "former"),
			}
		}
		return l
	})
	rapid.Check(t, func(t *rapid.T) {
		want := &Checkpoint{
			TopicID:     topicID,
			Committed:   offset.Draw(t, "committed"),
			LeaderEpoch: rapid.Int32Min(-1).Draw(t, "epoch"),
			Lanes:       rapid.SliceOfNDistinct(lane, 0, 6, func(l Lane) string { return l.Name }).Draw(t, "lanes"),
		}
		meta, cut, err := Encode(want, DefaultLimit)
		require.NoError(t, err)
		require.Empty(t, cut)
		got, err := Decode(meta, want.Committed, topicID)
		require.NoError(t, err)
		sorted := cmpopts.SortSlices(func(a, b Lane) bool { return a.Name < b.Name })
		require.Empty(t, cmp.Diff(want, got, cmp.AllowUnexported(Cursor{}), cmpopts.EquateEmpty(), sorted))
	})
}

// TestGapsAreNotRecorded: what was settled without a push is read again after a
// restart, unless a run that counts covers it.
func TestGapsAreNotRecorded(t *testing.T) {
	t.Parallel()
	c := settled(t, 10, 12)
	c.SettleRange(13, 15)
	c.SettleRange(20, 30)
	meta, _, err := Encode(&Checkpoint{Committed: 10, TopicID: topicID, Lanes: []Lane{{Name: "a", Cursor: c}}}, DefaultLimit)
	require.NoError(t, err)
	cp, err := Decode(meta, 10, topicID)
	require.NoError(t, err)
	require.Equal(t, []Run{{From: 12, To: 15}}, cp.Lanes[0].Cursor.Runs())
	require.Equal(t, int64(15), cp.Lanes[0].Cursor.Highest())
}

// sealed returns metadata with the given body and its right CRC.
func sealed(body []byte) string {
	return base64.RawURLEncoding.EncodeToString(
		binary.BigEndian.AppendUint32(body, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))))
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	whole := Checkpoint{TopicID: topicID, Committed: 7, Lanes: []Lane{{Name: "a", Control: -1, Cursor: settled(t, 7, 9)}}}
	good, _, err := Encode(&whole, DefaultLimit)
	require.NoError(t, err)
	raw, err := base64.RawURLEncoding.DecodeString(good)
	require.NoError(t, err)
	body := raw[:len(raw)-4]
	// with returns the good body with the byte at i, counted from the end, replaced.
	with := func(i int, b ...byte) string {
		at := len(body) - i
		return sealed(append(append(append([]byte{}, body[:at]...), b...), body[at+1:]...))
	}
	_, err = Decode(with(1, 1), 7, topicID)
	require.NoError(t, err, "control: the last byte is the run's length, and the edit keeps all else whole")

	for name, tc := range map[string]struct {
		meta string
		want error
		text string
	}{
		"empty":               {"", ErrEmpty, "no checkpoint"},
		"a member id":         {"policysync-6f1c9f1e", ErrDamaged, "damaged checkpoint: illegal base64 data at input byte 18"},
		"cut short":           {good[:len(good)-4], ErrDamaged, "damaged checkpoint: illegal base64 data at input byte 38"},
		"a letter changed":    {"B" + good[1:], ErrDamaged, "damaged checkpoint: wrong CRC"},
		"too short for a CRC": {"AQ", ErrDamaged, "damaged checkpoint: wrong CRC"},
		"next format":         {sealed([]byte{2, 'x'}), ErrUnknownFormat, "unknown checkpoint format: 2"},
		"bytes left over":     {sealed(append(slices.Clip(body), 0)), ErrDamaged, "damaged checkpoint: wrong layout at byte 28"},
		"empty run":           {with(1, 0), ErrDamaged, "damaged checkpoint: wrong layout at byte 28"},
		"adjoining run":       {with(2, 0), ErrDamaged, "damaged checkpoint: wrong layout at byte 27"},
		"endless run": {
			with(1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F), ErrDamaged,
			"damaged checkpoint: wrong layout at byte 36",
		},
		"longer varint":   {with(1, 0x81, 0), ErrDamaged, "damaged checkpoint: wrong layout at byte 29"},
		"next below zero": {with(6, 15), ErrDamaged, "damaged checkpoint: wrong layout at byte 23"},
		"more lanes":      {with(9, 0xFF, 0xFF, 0xFF, 0x7F), ErrDamaged, "damaged checkpoint: wrong layout at byte 31"},
		"lane without name": {
			sealed(append(append([]byte{}, body[:len(body)-8]...), 0, 0, 0, 0, 0)), ErrDamaged,
			"damaged checkpoint: wrong layout at byte 25",
		},
		"unknown mode": {with(4, 1, 'r', 3, 0, 0), ErrDamaged, "damaged checkpoint: wrong layout at byte 29"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode(tc.meta, 7, topicID)
			require.ErrorIs(t, err, tc.want)
			require.EqualError(t, err, tc.text)
		})
	}

	t.Run("copied to another offset", func(t *testing.T) {
		t.Parallel()
		_, err := Decode(good, 8, topicID)
		require.ErrorIs(t, err, ErrDamaged)
		require.EqualError(t, err, `committed offset "7" of the checkpoint is not the commit's "8"`)
	})
	t.Run("topic created again", func(t *testing.T) {
		t.Parallel()
		_, err := Decode(good, 7, event.TopicID{1})
		var mismatch *MismatchError
		require.ErrorAs(t, err, &mismatch)
		require.Equal(t, "topic id", mismatch.Field)
		require.Equal(t, topicID.String(), mismatch.Checkpoint)
	})
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	lane := Lane{Name: "a", Cursor: New(0)}
	_, _, err := Encode(&Checkpoint{Lanes: []Lane{lane, lane}}, DefaultLimit)
	require.EqualError(t, err, `encode checkpoint: lane "a" is empty or doubled`)
	lane.Replay = &Replay{}
	_, _, err = Encode(&Checkpoint{Lanes: []Lane{lane}}, DefaultLimit)
	require.EqualError(t, err, `encode checkpoint: lane "a": replay without command id`)
	_, _, err = Encode(&Checkpoint{Lanes: []Lane{{Name: strings.Repeat("a", 4000), Cursor: New(0)}}}, DefaultLimit)
	require.ErrorIs(t, err, ErrTooLarge)
}

// TestWorstCase fills all lanes to what their shares admit, with the longest
// numbers: nothing is cut. Above the shares, the highest runs of the lanes that
// exceed theirs are.
func TestWorstCase(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3, 20} {
		t.Run(fmt.Sprintf("%d lanes", n), func(t *testing.T) {
			t.Parallel()
			const committed = math.MaxInt64 / 2
			cp := &Checkpoint{TopicID: topicID, Committed: committed, LeaderEpoch: math.MaxInt32}
			for i := range n {
				cp.Lanes = append(cp.Lanes, Lane{
					Name:    fmt.Sprintf("target-number-%06d", i),
					Control: math.MaxInt64 - 1,
					Cursor:  New(int64(i % 2)), // as far below the commit as can be
					Replay:  &Replay{CommandID: strings.Repeat("x", 36), Mode: ReplayNewest, End: math.MaxInt64, Former: math.MaxInt64},
				})
			}
			share := Share(DefaultLimit, cp.Lanes)
			require.Positive(t, share)
			fill := func(c *Cursor, size int) {
				for o := c.Highest() + 5000; c.size+3 <= size; o += 5001 {
					require.NoError(t, c.Settle(o))
				}
			}
			for _, l := range cp.Lanes {
				fill(l.Cursor, share)
			}
			meta, cut, err := Encode(cp, DefaultLimit)
			require.NoError(t, err)
			require.Empty(t, cut)
			require.Greater(t, len(meta), DefaultLimit*4/5, "the shares use what there is")

			greedy := cp.Lanes[0].Cursor
			fill(greedy, 4000)
			meta, cut, err = Encode(cp, DefaultLimit)
			require.NoError(t, err)
			require.LessOrEqual(t, len(meta), DefaultLimit)
			require.Equal(t, []string{"target-number-000000"}, cut)

			got, err := Decode(meta, committed, topicID)
			require.NoError(t, err)
			kept := got.Lanes[0].Cursor.Runs()
			require.Equal(t, greedy.Runs()[:len(kept)], kept)
			require.InDelta(t, share, got.Lanes[0].Cursor.size, 3)
			if n > 1 {
				require.Empty(t, cmp.Diff(cp.Lanes[1:], got.Lanes[1:], cmp.AllowUnexported(Cursor{})))
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	names := make([]string, 40)
	for i := range names {
		names[i] = fmt.Sprintf("target-%05d", i)
	}
	require.NoError(t, Check(nil))
	require.NoError(t, Check(names[:20]))
	require.EqualError(t, Check(names), "fit 40 targets in 4096 characters of commit metadata: "+
		"the first 30 fit; use shorter names or a second group")
	require.NoError(t, Check(names[:30]))
	require.Error(t, Check(names[:31]))
}

// FuzzDecode feeds the layout with any bytes under a right CRC. What is accepted
// must be the one encoding of what was read, and of this commit.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{}, int64(0))
	f.Add([]byte("\x01\xe8\x07\xa1\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0f\x0a\x01\x01a\x00\x00\x00\x02\x01\x01\x02\x02"), int64(1000))
	f.Fuzz(func(t *testing.T, body []byte, committed int64) {
		for _, meta := range []string{string(body), sealed(body)} {
			cp, err := Decode(meta, committed, topicID)
			if err != nil {
				continue
			}
			require.Equal(t, committed, cp.Committed)
			require.Equal(t, topicID, cp.TopicID)
			again, cut, err := Encode(cp, len(meta))
			require.NoError(t, err)
			require.Empty(t, cut)
			require.Equal(t, meta, again)
			for _, l := range cp.Lanes {
				requireApart(t, l.Cursor)
			}
		}
	})
}
