package decode_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/avro"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/event"
)

func field(typ string) string {
	return `{"type":"record","name":"R","fields":[{"name":"a","type":` + typ + `}]}`
}

func varints(ns ...int64) []byte {
	var b []byte
	for _, n := range ns {
		b = binary.AppendVarint(b, n)
	}
	return b
}

// TestHostileBytes: whatever the bytes are, the outcome is an error that says what
// is wrong and where. Each of the bombs would end the process if goavro saw it.
func TestHostileBytes(t *testing.T) {
	t.Parallel()
	list := `{"type":"array","items":`
	empty := list + `{"type":"record","name":"E","fields":[]}}`
	for _, row := range []struct {
		name, schema string
		bytes        []byte
		reason       decode.Reason
		want         string
	}{
		{"five-byte bomb", list + `"long"}`, varints(1<<31 - 1), decode.Malformed, "a[0]: the bytes end in the middle of a value"},
		{"negative bomb", list + `"long"}`, varints(-1<<31, 0), decode.Malformed, "a[0]: the bytes end in the middle of a value"},
		{"least count", list + `"long"}`, varints(-1<<63, 0), decode.Malformed, "a: a number is longer than its type"},
		{"map bomb", `{"type":"map","values":"null"}`, varints(1<<31 - 1), decode.Malformed, "the bytes end in the middle of a value"},
		{"nulls from nothing", list + `"null"}`, varints(1<<31-1, 0), decode.Oversized, "more values than so few bytes may stand for"},
		{"empty records from nothing", empty, bytes.Repeat(varints(1<<20), 1<<10), decode.Oversized, "more values"},
		{"10 MB of nesting", `["null","R"]`, bytes.Repeat([]byte{2}, 10<<20), decode.Oversized, "values nest deeper than 500"},
		{"endless record", `"R"`, nil, decode.Oversized, "values nest deeper than 500"},
		{"block size", list + `"int"}`, varints(-1, 2, 5, 0), decode.Malformed, "a: a block has another size than it says"},
		{"huge block size", list + `"int"}`, varints(-1, 1<<60, 5, 0), decode.Malformed, "a: a block has another size than it says"},
		{"string length", `"string"`, varints(1 << 40), decode.Malformed, "a: the bytes end"},
		{"negative length", `"bytes"`, varints(-1), decode.Malformed, "a: a length is negative"},
		{"no UTF-8", `"string"`, append(varints(1), 0xff), decode.Malformed, "a: a string is not UTF-8"},
		{"union branch", `["null","int"]`, varints(2), decode.Malformed, "a: there is no branch 2"},
		{"symbol", `{"type":"enum","name":"E","symbols":["x"]}`, varints(-1), decode.Malformed, "a: there is no symbol -1"},
		{"boolean", `"boolean"`, []byte{2}, decode.Malformed, "a: a boolean is neither 0 nor 1"},
		{"int", `"int"`, varints(1 << 31), decode.Malformed, "a: a number is longer than its type"},
		{"long", `"long"`, bytes.Repeat([]byte{0x80}, 20), decode.Malformed, "a: a number is longer than its type"},
		{"truncated", `"double"`, []byte{1, 2, 3}, decode.Malformed, "a: the bytes end"},
		{"left over", `"int"`, varints(1, 2), decode.Malformed, "1 bytes are left over after the value"},
		{"key twice", `{"type":"map","values":"null"}`, append(varints(2, 1), 'k', 2, 'k', 0), decode.Malformed, "duplicate key"},
		{"time of day", `{"type":"int","logicalType":"time-millis"}`, varints(86_400_000), decode.Value, "a: 86400000 × 1ms is no time of a day"},
		{"long decimal", `{"type":"bytes","logicalType":"decimal","precision":4}`, append(varints(50), make([]byte, 50)...), decode.Value, "a: 50 bytes are too many"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d := fromFiles(t, field(row.schema), "")
			_, _, err := d.Decode(t.Context(), record(row.bytes))
			requireReason(t, row.reason, err)
			require.ErrorContains(t, err, row.want)
		})
	}
}

// FuzzDecode: no bytes end the process, and what is accepted is what another
// library reads.
func FuzzDecode(f *testing.F) {
	d := fromFiles(f, permit, "")
	other := avro.MustParse(permit)
	good := encode(f, permit, permitJSON)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(append(bytes.Repeat([]byte{2}, 100), good...))
	f.Fuzz(func(t *testing.T, b []byte) {
		value, _, err := d.Decode(t.Context(), record(b))
		if err != nil {
			var u *decode.UndecodableError
			require.ErrorAs(t, err, &u)
			return
		}
		var read any
		rest, err := other.Decode(b, &read)
		require.NoError(t, err)
		require.Empty(t, rest)
		_, _ = event.AppendJSON(nil, value) // NaN has no JSON, but nothing may panic
	})
}
