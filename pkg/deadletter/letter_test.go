package deadletter

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hms-sme/policysync/pkg/event"
)

var sample = Letter{
	ID:           "01020000-0000-0000-0000-000000000000/3/42/legacy",
	Target:       "legacy",
	Class:        "permanent",
	Error:        "upsert policies: value too long",
	Attempts:     2,
	FirstAttempt: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC),
	LastAttempt:  time.Date(2026, 11, 23, 8, 0, 1, 500, time.UTC),
	Position:     event.Position{Topic: "policy-events", TopicID: event.TopicID{1, 2}, Partition: 3, Offset: 42, LeaderEpoch: -1},
	Timestamp:    time.UnixMilli(1_795_420_800_123).UTC(),
	SchemaID:     7,
	Version:      9,
	HasVersion:   true,
	Trace:        "0af7651916cd43dd8448eb211c80319c",
}

// TestHeaders keeps the names and texts that docs/dead-letters.md promises.
func TestHeaders(t *testing.T) {
	t.Parallel()
	undecodable := Letter{
		ID: "01020000-0000-0000-0000-000000000000/3/42", Class: "permanent", Error: "not Avro",
		Position: sample.Position, Timestamp: sample.Timestamp,
	}
	source := []string{
		"policysync.source.topic=policy-events",
		"policysync.source.topic-id=01020000-0000-0000-0000-000000000000",
		"policysync.source.partition=3",
		"policysync.source.offset=42",
		"policysync.source.timestamp=1795420800123",
	}
	for name, tc := range map[string]struct {
		letter      Letter
		head, trail []string
	}{
		"delivery": {
			letter: sample,
			head: []string{
				"policysync.id=01020000-0000-0000-0000-000000000000/3/42/legacy",
				"policysync.target=legacy",
				"policysync.class=permanent",
				"policysync.error=upsert policies: value too long",
				"policysync.attempts=2",
				"policysync.first-attempt=2026-11-23T08:00:00Z",
				"policysync.last-attempt=2026-11-23T08:00:01.0000005Z",
			},
			trail: []string{
				"policysync.schema-id=7",
				"policysync.version=9",
				"policysync.trace=0af7651916cd43dd8448eb211c80319c",
				"policysync.content=full",
			},
		},
		"undecodable record": {
			letter: undecodable,
			head: []string{
				"policysync.id=01020000-0000-0000-0000-000000000000/3/42",
				"policysync.class=permanent",
				"policysync.error=not Avro",
				"policysync.attempts=0",
			},
			trail: []string{"policysync.content=full"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			original := &event.Record{Key: []byte("k"), Headers: []event.Header{{Key: "traceparent", Value: []byte("00")}}}
			_, _, headers := Encode(tc.letter, original, 10_000)
			var got []string
			for _, h := range headers {
				got = append(got, h.Key+"="+string(h.Value))
			}
			want := append(append(append([]string{"traceparent=00"}, tc.head...), source...), tc.trail...)
			require.Empty(t, cmp.Diff(want, got))
		})
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	// Names of our own among the original's headers: the letter of a letter.
	header := rapid.Custom(func(t *rapid.T) event.Header {
		return event.Header{
			Key:   rapid.SampledFrom([]string{"traceparent", "", headerID, headerContent, headerVersion}).Draw(t, "name"),
			Value: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "value"),
		}
	})
	content := rapid.OneOf(rapid.Just([]byte(nil)), rapid.Just([]byte{}), rapid.SliceOfN(rapid.Byte(), 1, 50))
	instant := rapid.OneOf(rapid.Just(time.Time{}), rapid.Map(rapid.Int64Range(0, 1<<55), func(ns int64) time.Time {
		return time.Unix(0, ns).UTC()
	}))
	rapid.Check(t, func(t *rapid.T) {
		l := Letter{
			ID:           rapid.StringN(1, -1, -1).Draw(t, "id"),
			Target:       rapid.String().Draw(t, "target"),
			Class:        rapid.String().Draw(t, "class"),
			Error:        rapid.String().Draw(t, "error"),
			Attempts:     rapid.IntRange(0, math.MaxInt32).Draw(t, "attempts"),
			FirstAttempt: instant.Draw(t, "first"),
			LastAttempt:  instant.Draw(t, "last"),
			Position: event.Position{
				Topic:       rapid.String().Draw(t, "topic"),
				TopicID:     event.TopicID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "topic id")),
				Partition:   rapid.Int32Min(0).Draw(t, "partition"),
				Offset:      rapid.Int64Min(0).Draw(t, "offset"),
				LeaderEpoch: -1,
			},
			Timestamp:  time.UnixMilli(rapid.Int64().Draw(t, "timestamp")).UTC(),
			SchemaID:   rapid.IntRange(0, math.MaxInt32).Draw(t, "schema"),
			HasVersion: rapid.Bool().Draw(t, "has version"),
			Trace:      rapid.String().Draw(t, "trace"),
		}
		if l.HasVersion {
			l.Version = rapid.Int64().Draw(t, "version")
		}
		original := &event.Record{
			Position: l.Position, Timestamp: l.Timestamp,
			Key: content.Draw(t, "key"), Value: content.Draw(t, "value"),
			Headers: rapid.SliceOfN(header, 1, 5).Draw(t, "headers"),
		}
		key, value, headers := Encode(l, original, math.MaxInt)
		got, record, err := Decode(&event.Record{Key: key, Value: value, Headers: headers})
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(l, got))
		require.Empty(t, cmp.Diff(original, record))

		key, value, headers = Encode(l, original, 0)
		require.Nil(t, key)
		require.Nil(t, value)
		got, record, err = Decode(&event.Record{Headers: headers})
		require.NoError(t, err)
		l.Reference = true
		require.Empty(t, cmp.Diff(l, got))
		require.Nil(t, record)
	})
}

// TestTooLarge checks the step from a whole letter to a reference, and that a
// reference is small whatever the letter says.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	original := &event.Record{Value: make([]byte, 100_000)}
	_, value, headers := Encode(sample, original, 110_000)
	require.Len(t, value, 100_000)
	most := size(nil, value, headers)
	_, value, _ = Encode(sample, original, most)
	require.NotNil(t, value)
	_, value, _ = Encode(sample, original, most-1)
	require.Nil(t, value)

	l := sample
	l.Error = strings.Repeat("é", 1<<20)
	_, _, headers = Encode(l, original, 0)
	require.Less(t, size(nil, nil, headers), MaxError+1500)
}

func TestErrorIsBounded(t *testing.T) {
	t.Parallel()
	for _, text := range []string{strings.Repeat("é", MaxError), "a" + strings.Repeat("é", MaxError)} {
		got := bounded(text)
		require.True(t, utf8.ValidString(got))
		require.LessOrEqual(t, len(got), MaxError)
		require.Greater(t, len(got), MaxError-5)
		require.True(t, strings.HasSuffix(got, "é…"))
	}
	require.Equal(t, strings.Repeat("a", MaxError), bounded(strings.Repeat("a", MaxError)))
	require.Equal(t, "bad \uFFFD byte", bounded("bad \xff byte"))
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	_, _, err := Decode(&event.Record{Position: event.Position{Topic: "letters"}, Headers: []event.Header{{Key: "id"}}})
	require.ErrorIs(t, err, ErrNoLetter)
	require.EqualError(t, err, "read dead letter letters/0/0: record is no dead letter")

	for _, tc := range []struct{ header, value, why string }{
		{headerAttempts, "99999999999", "not a number that fits"},
		{headerLastAttempt, "yesterday", "not a time in RFC 3339"},
		{headerTopicID, "0102", "not a UUID"},
		{headerPartition, "", "not a number that fits"},
		{headerOffset, "1.5", "not a number that fits"},
		{headerVersion, "v9", "not a number that fits"},
		{headerContent, "half", "neither full nor reference"},
	} {
		t.Run(tc.header, func(t *testing.T) {
			t.Parallel()
			_, _, headers := Encode(sample, &event.Record{}, 10_000)
			for i := range headers {
				if headers[i].Key == tc.header {
					headers[i].Value = []byte(tc.value)
				}
			}
			_, _, err := Decode(&event.Record{Position: event.Position{Topic: "letters", Offset: 5}, Headers: headers})
			require.EqualError(t, err, fmt.Sprintf("read dead letter letters/0/5: header %s: %q: %s", tc.header, tc.value, tc.why))
		})
	}
}

// FuzzDecode replaces one header of a letter. Whatever it says, a letter that is
// read gives back the original's bytes and headers.
func FuzzDecode(f *testing.F) {
	f.Add(headerContent, []byte(contentReference))
	f.Add(headerVersion, []byte("-9223372036854775808"))
	f.Add(headerFirstAttempt, []byte("9999-12-31T23:59:60+24:00"))
	f.Add("traceparent", []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		original := &event.Record{Key: []byte("P-1"), Value: value, Headers: []event.Header{{Key: name, Value: value}}}
		key, body, headers := Encode(sample, original, math.MaxInt)
		for i := 1; i < len(headers); i++ {
			if headers[i].Key == name {
				headers[i].Value = value
			}
		}
		l, record, err := Decode(&event.Record{Key: key, Value: body, Headers: headers})
		if err != nil {
			require.ErrorContains(t, err, name)
			return
		}
		require.Equal(t, l.Reference, record == nil)
		if record != nil {
			require.Equal(t, original.Key, record.Key)
			require.Equal(t, original.Value, record.Value)
			require.Equal(t, original.Headers, record.Headers)
		}
	})
}
