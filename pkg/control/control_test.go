package control

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var (
	origin = Origin{By: "ana@ops-1", Time: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), Reason: "migration"}
	to     = int64(40)
	replay = Replay{
		ID: "k3v9q2", Target: "api", Every: true, Origin: origin,
		Ranges: []Range{{Topic: "policies", Partition: 1, From: 7, To: &to}, {Topic: "policies", Partition: 2}},
	}
)

// TestFormat keeps the names and texts that docs/operations.md promises.
func TestFormat(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		record     Record
		key, value string
	}{
		{
			&Pause{Target: "api", Paused: true, Origin: origin}, "pause/api",
			`{"paused":true,"by":"ana@ops-1","time":"2026-11-24T08:00:00Z","reason":"migration"}`,
		},
		{
			&Accept{Target: "api", UpTo: origin.Time, Origin: Origin{By: "ana@ops-1", Time: origin.Time}}, "accept/api",
			`{"up_to":"2026-11-24T08:00:00Z","by":"ana@ops-1","time":"2026-11-24T08:00:00Z"}`,
		},
		{
			&replay, "replay/k3v9q2",
			`{"target":"api","every":true,"ranges":[{"topic":"policies","partition":1,"from":7,"to":40},` +
				`{"topic":"policies","partition":2,"from":0}],"by":"ana@ops-1","time":"2026-11-24T08:00:00Z","reason":"migration"}`,
		},
	} {
		t.Run(row.key, func(t *testing.T) {
			t.Parallel()
			key, value, err := Encode(row.record)
			require.NoError(t, err)
			require.Equal(t, row.key, string(key))
			require.Equal(t, row.value, string(value))
			back, err := Decode(key, value)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(row.record, back))
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, key, value, want string }{
		{"no name", "pause/", "{}", `read control record: key "pause/" is not KIND/NAME`},
		{"a later kind", "redrive/x", "{}", `read control record "redrive/x": unknown kind of control record`},
		{"no JSON", "pause/api", "{", `read control record "pause/api": unexpected end of JSON input`},
		{"no target", "replay/x", "{}", `read control record "replay/x": replay names no target`},
		{
			"no range", "replay/x", `{"target":"api","ranges":[{"topic":"p","partition":3,"from":7,"to":6}]}`,
			`read control record "replay/x": p/3: no range of offsets`,
		},
		{
			"an id that no commit has room for", "replay/1234567890123456789012345678901234567", `{"target":"api"}`,
			`read control record "replay/1234567890123456789012345678901234567": command id is longer than 36 bytes`,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode([]byte(row.key), []byte(row.value))
			require.EqualError(t, err, row.want)
		})
	}
	_, err := Decode([]byte("redrive/x"), nil)
	require.ErrorIs(t, err, ErrUnknown)
}

func TestRange(t *testing.T) {
	t.Parallel()
	got, ok := replay.Range("policies", 1)
	require.True(t, ok)
	require.EqualValues(t, 7, got.From)
	_, ok = replay.Range("policies", 3)
	require.False(t, ok)
	_, ok = replay.Range("processes", 1)
	require.False(t, ok)
}

// Whatever is read and written again is read as the same.
func FuzzDecode(f *testing.F) {
	f.Add("pause/api", `{"paused":true,"by":"ana","time":"2026-11-24T08:00:00Z"}`)
	f.Add("accept/api", `{"up_to":"2026-11-24T08:00:00Z"}`)
	f.Add("replay/x", `{"target":"api","ranges":[{"topic":"p","partition":3,"from":7,"to":9}]}`)
	f.Add("replay/x", `{"target":"api","ranges":[{"from":-1}]}`)
	f.Fuzz(func(t *testing.T, key, value string) {
		r, err := Decode([]byte(key), []byte(value))
		if err != nil {
			return
		}
		k, v, err := Encode(r)
		if err != nil { // a year that RFC 3339 can't write
			return
		}
		require.Equal(t, key, string(k))
		back, err := Decode(k, v)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(r, back))
	})
}
