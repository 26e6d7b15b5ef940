package receipt

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var discarded = Resolution{
	Letter: "01020000-0000-0000-0000-000000000000/3/42/legacy", Outcome: Discarded,
	Time: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), By: "ops@desk-3", Reason: "entered by hand",
}

// TestResolutionFormat keeps the names and texts that docs/receipts.md promises.
func TestResolutionFormat(t *testing.T) {
	t.Parallel()
	redriven := discarded
	redriven.Outcome, redriven.Command, redriven.Reason, redriven.Result = Redriven, "c-17", "", Stale
	for _, tc := range []struct {
		r     Resolution
		value string
	}{
		{discarded, `{"outcome":"discarded","time":"2026-11-23T08:00:00Z","by":"ops@desk-3","reason":"entered by hand"}`},
		{redriven, `{"outcome":"redriven","time":"2026-11-23T08:00:00Z","by":"ops@desk-3","command":"c-17","result":"stale"}`},
	} {
		key, value, err := tc.r.Encode()
		require.NoError(t, err)
		require.Equal(t, "letter/01020000-0000-0000-0000-000000000000/3/42/legacy", string(key))
		require.Equal(t, tc.value, string(value))
		require.Equal(t, "letter", string(PartitionKey(key)), "all of them lie in one partition")
		back, err := DecodeResolution(key, value)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(&tc.r, back))
	}
	long := discarded
	long.Reason = strings.Repeat("x", 2*MaxText)
	_, value, err := long.Encode()
	require.NoError(t, err)
	require.Less(t, len(value), 2*MaxText)
}

func FuzzDecodeResolution(f *testing.F) {
	key, value, err := discarded.Encode()
	require.NoError(f, err)
	f.Add(key, value)
	f.Add([]byte("letter/"), []byte(`{"outcome":"redriven","time":"9999-12-31T23:59:59+23:59"}`))
	f.Add([]byte("member/x"), []byte(`{"outcome":"x"}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := DecodeResolution(key, value)
		if err != nil {
			return
		}
		again, text, err := r.Encode()
		if err != nil {
			return // a time that only a zone keeps within four digits of a year
		}
		require.Equal(t, key, again)
		back, err := DecodeResolution(again, text)
		require.NoError(t, err)
		r.Time, r.By, r.Reason = r.Time.UTC(), Bounded(r.By), Bounded(r.Reason)
		require.Empty(t, cmp.Diff(r, back))
	})
}
