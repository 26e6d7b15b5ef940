package receipt

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hms-sme/policysync/pkg/event"
)

var source = event.Position{Topic: "policy-events", TopicID: event.TopicID{1, 2}, Partition: 3, Offset: 42, LeaderEpoch: -1}

var delivered = Receipt{
	Target: "api", Key: "DOI/7", Outcome: Delivered, Time: time.Date(2026, 11, 23, 8, 0, 0, 500, time.UTC), Attempts: 2,
	Source: source, Version: 9, HasVersion: true, Trace: "0af7651916cd43dd8448eb211c80319c", Reference: "R-17", Superseded: 3,
}

var buried = Receipt{
	Target: "legacy", Key: "DOI-7", Outcome: DeadLettered, Time: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), Deleted: true,
	Source: source, Class: "permanent", Error: "upsert policies: value too long", Letter: "01020000-0000-0000-0000-000000000000/3/42/legacy",
}

// TestFormat keeps the names and texts that docs/receipts.md promises.
func TestFormat(t *testing.T) {
	t.Parallel()
	member := Member{
		ID: "pod-0-1f", Time: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), Host: "pod-0", Version: "v1.0.0",
		Partitions: []Partition{{"policy-events", 3}},
		Targets: map[string]State{"api": {
			Breaker: "open", Held: true, Paused: true, OldestSeconds: 1.5, InFlight: 2, Lag: 7,
			Settled: map[string]int64{Delivered: 4}, Latency: Histogram{Bounds: []float64{0.5}, Counts: []int64{3, 1}},
		}},
	}
	for name, tc := range map[string]struct {
		record interface {
			Encode() (key, value []byte, err error)
		}
		key, value string
	}{
		"delivered": {&delivered, "held/api/DOI/7", `{"outcome":"delivered","time":"2026-11-23T08:00:00.0000005Z","attempts":2,` +
			`"topic":"policy-events","topic_id":"01020000-0000-0000-0000-000000000000","partition":3,"offset":42,"version":9,` +
			`"trace":"0af7651916cd43dd8448eb211c80319c","reference":"R-17","superseded":3}`},
		"dead-lettered": {&buried, "last/legacy/DOI-7", `{"outcome":"dead-lettered","time":"2026-11-23T08:00:00Z","attempts":0,` +
			`"topic":"policy-events","topic_id":"01020000-0000-0000-0000-000000000000","partition":3,"offset":42,"deleted":true,` +
			`"class":"permanent","error":"upsert policies: value too long","letter":"01020000-0000-0000-0000-000000000000/3/42/legacy"}`},
		"member": {&member, "member/pod-0-1f", `{"id":"pod-0-1f","time":"2026-11-23T08:00:00Z","host":"pod-0","version":"v1.0.0",` +
			`"partitions":[{"topic":"policy-events","partition":3}],"targets":{"api":{"breaker":"open","held":true,"paused":true,"oldest_waiting_seconds":1.5,` +
			`"in_flight":2,"lag":7,"settled":{"delivered":4},"latency":{"bounds_seconds":[0.5],"counts":[3,1]}}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, value, err := tc.record.Encode()
			require.NoError(t, err)
			require.Equal(t, tc.key, string(key))
			require.Equal(t, tc.value, string(value))
		})
	}
	_, value, err := member.Encode()
	require.NoError(t, err)
	back, err := DecodeMember(value)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(&member, back))
	require.True(t, back.Alive(member.Time.Add(Gone)))
	require.False(t, back.Alive(member.Time.Add(Gone+1)))
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := &Receipt{
			Target:   rapid.StringMatching(`[A-Za-z][A-Za-z0-9_-]{0,9}`).Draw(t, "target"),
			Key:      string(rapid.SliceOf(rapid.Byte()).Draw(t, "key")),
			Outcome:  rapid.SampledFrom([]string{Delivered, Superseded, Stale, DeadLettered}).Draw(t, "outcome"),
			Time:     time.Unix(0, rapid.Int64Range(0, 1<<60).Draw(t, "time")).UTC(),
			Attempts: rapid.IntMin(0).Draw(t, "attempts"),
			Source: event.Position{
				Topic:       rapid.String().Draw(t, "topic"),
				TopicID:     event.TopicID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "topic id")),
				Partition:   rapid.Int32Min(0).Draw(t, "partition"),
				Offset:      rapid.Int64Min(0).Draw(t, "offset"),
				LeaderEpoch: -1,
			},
			HasVersion: rapid.Bool().Draw(t, "has version"),
			Deleted:    rapid.Bool().Draw(t, "deleted"),
			Trace:      rapid.String().Draw(t, "trace"),
			Reference:  rapid.String().Draw(t, "reference"),
			Superseded: rapid.IntMin(0).Draw(t, "superseded"),
			Class:      rapid.String().Draw(t, "class"),
			Error:      rapid.String().Draw(t, "error"),
			Letter:     rapid.String().Draw(t, "letter"),
		}
		if r.HasVersion {
			r.Version = rapid.Int64().Draw(t, "version")
		}
		key, value, err := r.Encode()
		require.NoError(t, err)
		require.Equal(t, r.Key, string(PartitionKey(key)), "the policy key alone chooses the partition")
		back, err := Decode(key, value)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(r, back))
	})
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	_, value, err := delivered.Encode()
	require.NoError(t, err)
	for _, tc := range []struct{ key, value, why string }{
		{"lettre/1", "{}", `read receipt key "lettre/1": record is of no known kind`},
		{"letter/1", `{"outcome":"discarded"}`, `read receipt "letter/1": outcome "discarded" does not belong under letter/`},
		{"held/api", "{}", `read receipt key "held/api": record is of no known kind`},
		{"member", "{}", `read receipt key "member": record is of no known kind`},
		{"", "{}", `read receipt key "": record is of no known kind`},
		{"held/api/k", "", `read receipt "held/api/k": unexpected end of JSON input`},
		{"held/api/k", `{"topic_id":"01"}`, `read receipt "held/api/k": topic id "01" is not a UUID`},
		{"last/api/k", string(value), `read receipt "last/api/k": outcome "delivered" does not belong under last/`},
		{"last/api/k", "{}", `read receipt "last/api/k": outcome "" does not belong under last/`},
	} {
		_, err := Decode([]byte(tc.key), []byte(tc.value))
		require.EqualError(t, err, tc.why)
	}
	_, err = Decode([]byte("lane/x/y"), nil)
	require.ErrorIs(t, err, ErrForeign)
	_, err = DecodeMember([]byte(`{"id":"m","targets":{"api":{"latency":{"counts":[1]}}}}`))
	require.NoError(t, err)
	_, err = DecodeMember([]byte(`{"id":"m","targets":{"api":{"latency":{"counts":[1,2]}}}}`))
	require.EqualError(t, err, "read member m: target api: 2 counts for 0 bounds")
}

// A member that has lost its partition may still write what had settled before; a
// replay pushes an earlier event, later.
func TestLate(t *testing.T) {
	t.Parallel()
	old := delivered
	for name, tc := range map[string]struct {
		change func(*Receipt)
		late   bool
	}{
		"the next event":          {func(r *Receipt) { r.Source.Offset++; r.Time = r.Time.Add(time.Second) }, false},
		"by a clock that is slow": {func(r *Receipt) { r.Source.Offset++; r.Time = r.Time.Add(-time.Hour) }, false},
		"a former owner":          {func(r *Receipt) { r.Source.Offset--; r.Time = r.Time.Add(-time.Second) }, true},
		"a replay":                {func(r *Receipt) { r.Source.Offset--; r.Time = r.Time.Add(time.Second) }, false},
		"the same event again":    {func(*Receipt) {}, false},
		"another partition":       {func(r *Receipt) { r.Source = event.Position{Partition: 4}; r.Time = time.Time{} }, false},
		"a topic made anew": {func(r *Receipt) {
			r.Source.TopicID[0]++
			r.Source.Offset = 0
			r.Time = time.Time{}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := old
			tc.change(&r)
			require.Equal(t, tc.late, r.Late(&old))
		})
	}
}

func TestBounded(t *testing.T) {
	t.Parallel()
	for _, text := range []string{strings.Repeat("é", MaxText), "a" + strings.Repeat("é", MaxText)} {
		got := Bounded(text)
		require.True(t, utf8.ValidString(got))
		require.LessOrEqual(t, len(got), MaxText)
		require.Greater(t, len(got), MaxText-5)
		require.True(t, strings.HasSuffix(got, "é…"))
	}
	require.Equal(t, "bad \uFFFD byte", Bounded("bad \xff byte"))
}

func FuzzDecode(f *testing.F) {
	for _, r := range []*Receipt{&delivered, &buried} {
		key, value, err := r.Encode()
		require.NoError(f, err)
		f.Add(key, value)
	}
	f.Add([]byte("held//"), []byte(`{"outcome":"delivered","time":"9999-12-31T23:59:59+23:59"}`))
	f.Add([]byte("member/x"), []byte(`{"targets":{"api":{"latency":{"counts":[1]}}}}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		_, _ = DecodeMember(value)
		r, err := Decode(key, value)
		if err != nil {
			return
		}
		// What can be read can be written: it means the same.
		again, text, err := r.Encode()
		if err != nil {
			return // a time that only a zone keeps within four digits of a year
		}
		require.Equal(t, key, again)
		back, err := Decode(again, text)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(r, back))
	})
}

func BenchmarkEncode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := delivered.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}
