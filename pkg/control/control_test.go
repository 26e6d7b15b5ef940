package control

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/event"
)

var (
	origin  = Origin{By: "ana@ops-1", Time: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), Reason: "migration"}
	policy  = "P-1"
	to      = int64(40)
	redrive = Redrive{
		ID: "k3v9q2", UpTo: map[int32]int64{0: 7, 2: 9}, Origin: origin,
		Filter: deadletter.Filter{
			IDs: []string{"0102/3/42/api"}, Target: "api", Class: "permanent", Key: &policy, Error: "too long", Since: origin.Time,
		},
	}
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
		{
			&redrive, "redrive/k3v9q2",
			`{"ids":["0102/3/42/api"],"target":"api","class":"permanent","key":"P-1","error":"too long","since":"2026-11-24T08:00:00Z",` +
				`"up_to":{"0":7,"2":9},"by":"ana@ops-1","time":"2026-11-24T08:00:00Z","reason":"migration"}`,
		},
		{
			&Push{ID: "k3v9q2", Target: "api", PolicyKey: "P-1", Topic: "policies", Partition: 1, Offset: 42, Origin: origin}, "push/k3v9q2",
			`{"target":"api","key":"P-1","topic":"policies","partition":1,"offset":42,"by":"ana@ops-1","time":"2026-11-24T08:00:00Z","reason":"migration"}`,
		},
		{
			&Done{ID: "k3v9q2", What: DoneCancel, Command: "x7", Origin: origin}, "done/k3v9q2",
			`{"what":"cancel","command":"x7","by":"ana@ops-1","time":"2026-11-24T08:00:00Z","reason":"migration"}`,
		},
		{
			&Done{ID: "k3v9q2", What: DoneForget, Target: "api", Origin: origin}, "done/k3v9q2",
			`{"what":"forget","target":"api","by":"ana@ops-1","time":"2026-11-24T08:00:00Z","reason":"migration"}`,
		},
		{
			&Done{ID: "k3v9q2", What: DoneDiscard, Letters: []string{"0102/3/42/api"}, Origin: origin}, "done/k3v9q2",
			`{"what":"discard","letters":["0102/3/42/api"],"by":"ana@ops-1","time":"2026-11-24T08:00:00Z","reason":"migration"}`,
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
			absent, err := Absent(key)
			require.NoError(t, err)
			require.IsType(t, row.record, absent)
			require.Equal(t, row.key, string(absent.Key()))
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, key, value, want string }{
		{"no name", "pause/", "{}", `read control record: key "pause/" is not KIND/NAME`},
		{"a later kind", "later/x", "{}", `read control record "later/x": unknown kind of control record`},
		{"no JSON", "pause/api", "{", `read control record "pause/api": unexpected end of JSON input`},
		{"no target", "replay/x", "{}", `read control record "replay/x": replay names no target`},
		{
			"no range", "replay/x", `{"target":"api","ranges":[{"topic":"p","partition":3,"from":7,"to":6}]}`,
			`read control record "replay/x": p/3: no range of offsets`,
		},
		{"a redrive without end", "redrive/x", `{"target":"api"}`, `read control record "redrive/x": redrive does not say up to where`},
		{"a push of nothing", "push/x", `{"target":"api","offset":-1}`, `read control record "push/x": push names no target or no record`},
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
	_, err := Decode([]byte("later/x"), nil)
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

// A redrive is of one target's letters, those that were there when it was given.
func TestRedriveSelects(t *testing.T) {
	t.Parallel()
	letter := deadletter.Letter{ID: "0102/3/42/api", Target: "api", Class: "permanent", Error: "upsert: too long for x"}
	record := &event.Record{Key: []byte("P-1")}
	at := event.Position{Partition: 2, Offset: 8}
	require.True(t, redrive.Selects(&letter, record, at, origin.Time))
	require.False(t, redrive.Selects(&letter, nil, at, origin.Time), "a reference has no key")
	require.False(t, redrive.Selects(&letter, record, at, origin.Time.Add(-1)), "too early")
	require.False(t, redrive.Selects(&letter, record, event.Position{Partition: 2, Offset: 9}, origin.Time), "later than the command")
	require.False(t, redrive.Selects(&letter, record, event.Position{Partition: 1}, origin.Time), "in a partition that was empty")
	for name, change := range map[string]func(*deadletter.Letter){
		"id":     func(l *deadletter.Letter) { l.ID = "0102/3/43/api" },
		"target": func(l *deadletter.Letter) { l.Target = "" },
		"class":  func(l *deadletter.Letter) { l.Class = "transient" },
		"error":  func(l *deadletter.Letter) { l.Error = "too short" },
	} {
		other := letter
		change(&other)
		require.False(t, redrive.Selects(&other, record, at, origin.Time), name)
	}
	everything := Redrive{UpTo: redrive.UpTo}
	require.False(t, everything.Selects(&letter, record, at, origin.Time), "without a target it is of records as a whole")
	letter.Target = ""
	require.True(t, everything.Selects(&letter, nil, at, time.Time{}))
}

// Whatever is read and written again is read as the same.
func FuzzDecode(f *testing.F) {
	f.Add("pause/api", `{"paused":true,"by":"ana","time":"2026-11-24T08:00:00Z"}`)
	f.Add("accept/api", `{"up_to":"2026-11-24T08:00:00Z"}`)
	f.Add("replay/x", `{"target":"api","ranges":[{"topic":"p","partition":3,"from":7,"to":9}]}`)
	f.Add("replay/x", `{"target":"api","ranges":[{"from":-1}]}`)
	f.Add("redrive/x", `{"target":"api","key":"","up_to":{"0":7}}`)
	f.Add("push/x", `{"target":"api","key":"P-1","topic":"p","partition":3,"offset":9}`)
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
		require.Empty(t, cmp.Diff(r, back, cmpopts.EquateEmpty()))
	})
}
