package decode

import (
	"bytes"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/schemas"
)

// byGoavro is what run does, by goavro and the conversions of its values.
func (p *program) byGoavro(b []byte) (any, error) {
	if err := guard(p.writer.Root, b); err != nil {
		return nil, err
	}
	native, _, err := p.codec.NativeFromBinary(b)
	if err != nil {
		return nil, err
	}
	return p.convert.apply(native)
}

// FuzzPlan holds what a plan reads against goavro, for any two schemas and any bytes.
func FuzzPlan(f *testing.F) {
	const all = `{"type":"record","name":"R","fields":[
		{"name":"s","type":"string"},{"name":"l","type":"long"},{"name":"i","type":"int"},{"name":"t","type":"boolean"},
		{"name":"f","type":"float"},{"name":"d","type":"double"},{"name":"b","type":"bytes"},
		{"name":"x","type":{"type":"fixed","name":"F","size":2}},{"name":"e","type":{"type":"enum","name":"E","symbols":["a","b"]}},
		{"name":"u","type":["null","string","R"]},{"name":"n","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}},
		{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"day","type":{"type":"int","logicalType":"date"}},
		{"name":"ls","type":{"type":"array","items":["int","null"]}},{"name":"m","type":{"type":"map","values":"R"}}]}`
	const some = `{"type":"record","name":"R","fields":[
		{"name":"new","type":["null","int"],"default":null},{"name":"m","type":{"type":"map","values":"R"}},
		{"name":"i","type":["null","double"]},{"name":"again","aliases":["l"],"type":"long"},{"name":"s","type":"bytes"},
		{"name":"e","type":{"type":"enum","name":"E","symbols":["b","z"],"default":"z"}},{"name":"u","type":["null","R"]}]}`
	one := []byte("\x04hi\xac\x02\x0e\x01" + "\x00\x00\xc0\x3f" + "\x00\x00\x00\x00\x00\x00\xf8\x3f" + "\x04xy" + "zz" + "\x02" + "\x02\x04hi" + "\x02\x7d" + "\x80\x01" + "\x10" +
		"\x03\x06\x00\x02\x02\x00" + "\x00") // an array whose block says its size, and an empty map
	f.Add(all, all, one)
	f.Add(all, some, one) // its string has no branch
	f.Add(all, some, bytes.Replace(one, []byte("\x02\x04hi\x02\x7d"), []byte("\x00\x02\x7d"), 1))
	f.Add(schemas.PolicyEvent, schemas.PolicyEvent, []byte{0})
	f.Add(`{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"long"},{"name":"c","type":"float"},
		{"name":"d","type":{"type":"int","logicalType":"time-millis"}},{"name":"e","type":{"type":"long","logicalType":"time-micros"}},
		{"name":"f","type":"long"},{"name":"g","type":{"type":"fixed","name":"U","size":16}},{"name":"h","type":"string"},{"name":"i","type":"bytes"}]}`,
		`{"type":"record","name":"R","fields":[{"name":"a","type":"float"},{"name":"b","type":"double"},{"name":"c","type":"double"},
		{"name":"d","type":{"type":"int","logicalType":"time-millis"}},{"name":"e","type":{"type":"long","logicalType":"time-micros"}},
		{"name":"f","type":{"type":"long","logicalType":"timestamp-nanos"}},
		{"name":"g","type":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}},
		{"name":"h","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":1}},{"name":"i","type":"string"}]}`,
		[]byte("\x02\x04"+"\x00\x00\xc0\x3f"+"\x06\x08\x0a"+"0123456789abcdef"+"\x02\x7d"+"\x02x"))
	f.Add(`{"type":"record","name":"R","fields":[{"name":"x","type":{"type":"map","values":"null"}}]}`,
		`{"type":"record","name":"R","fields":[]}`, []byte("\x04\x02k\x02j\x00"))
	f.Fuzz(func(t *testing.T, writer, reader string, b []byte) {
		w, err := event.ParseSchema(writer)
		if err != nil {
			return
		}
		r, err := event.ParseSchema(reader)
		if err != nil {
			return
		}
		p, err := compile(w, r)
		if err != nil {
			return
		}
		got, err := p.run(b)
		want, wantErr := p.byGoavro(b)
		require.Equal(t, wantErr == nil, err == nil, "goavro: %v, plan: %v", wantErr, err)
		if err != nil {
			require.NotContains(t, err.Error(), "decode value: ", "a panic was caught")
			return
		}
		require.Empty(t, cmp.Diff(want, any(got), cmpopts.EquateNaNs(), cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })))
	})
}
