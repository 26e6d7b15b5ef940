package control

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var origin = Origin{By: "ana@ops-1", Time: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), Reason: "migration"}

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
		{"no name", "pause/", "{}", `read control record: key "pause/" is not KIND/TARGET`},
		{"a later kind", "redrive/x", "{}", `read control record "redrive/x": unknown kind of control record`},
		{"no JSON", "pause/api", "{", `read control record "pause/api": unexpected end of JSON input`},
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

// Whatever is read and written again is read as the same.
func FuzzDecode(f *testing.F) {
	f.Add("pause/api", `{"paused":true,"by":"ana","time":"2026-11-24T08:00:00Z"}`)
	f.Add("accept/api", `{"up_to":"2026-11-24T08:00:00Z"}`)
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
