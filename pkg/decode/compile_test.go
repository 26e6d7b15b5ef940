package decode

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/avro"

	"github.com/hms-sme/policysync/pkg/event"
)

// FuzzCompile: goavro takes every schema that we parse, and whatever passes the
// guard decodes without a panic.
func FuzzCompile(f *testing.F) {
	f.Add(`{"type":"record","name":"a.R","fields":[{"name":"x","type":["null","R"]}]}`, []byte{0})
	f.Add(`{"type":"record","name":"R","fields":[{"name":"x","type":{"type":"fixed","name":"F","size":1}}]}`, []byte{7})
	f.Add(`{"type":"record","name":"R","fields":[{"name":"x","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}},
		{"name":"y","type":{"type":"int","logicalType":"time-millis"}}]}`, []byte{2, 7, 1})
	f.Add(`{"type":"record","name":"bytes.decimal","fields":[{"name":"x","type":{"type":"map","values":{"type":"enum","name":"E","symbols":["a"]}}}]}`, []byte{0})
	f.Fuzz(func(t *testing.T, text string, b []byte) {
		s, err := event.ParseSchema(text)
		if err != nil || s.Root.Kind != event.Rec {
			return
		}
		p, err := compile(s, s)
		require.NoError(t, err)
		if _, err := p.run(b); err != nil {
			require.NotContains(t, err.Error(), "decode value: ", "a panic was caught")
		}
	})
}

// TestFingerprint holds canonical form and fingerprint against another library.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	text := `{"type":"record","name":"R","namespace":"a.b","doc":"x","fields":[
		{"name":"u","type":["null",{"type":"enum","name":"E","symbols":["x","y"]},{"type":"fixed","name":"c.F","size":3}],"default":null},
		{"name":"m","type":{"type":"map","values":{"type":"array","items":{"type":"long","logicalType":"timestamp-millis"}}}},
		{"name":"self","aliases":["me"],"type":["null","R"]},{"name":"e","type":"E"}]}`
	s, err := event.ParseSchema(text)
	require.NoError(t, err)
	other := avro.MustParse(text)
	require.Equal(t, string(other.Canonical()), canonical(s.Root, fullName))
	header, err := other.AppendSingleObject(nil, map[string]any{"u": nil, "m": map[string]any{}, "self": nil, "e": "x"})
	require.NoError(t, err)
	require.Equal(t, header[:singleObjectHeader], frame(formatSingleObject, fingerprint(s.Root)))
}
