package decode_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"github.com/twmb/avro"
	"pgregory.net/rapid"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/event"
)

func TestProjection(t *testing.T) {
	t.Parallel()
	const colours = `{"type":"enum","name":"C","symbols":["red","green"]}`
	for _, row := range []struct{ name, writer, reader, value, want string }{
		{"int to double", `"int"`, `"double"`, `7`, `7.0`},
		{"long to float", `"long"`, `"float"`, `16777217`, `16777216.0`},
		{"bytes to string", `"bytes"`, `"string"`, `"aGk="`, `"hi"`},
		{"string to bytes", `"string"`, `"bytes"`, `"hi"`, `"aGk="`},
		{"long to timestamp", `"long"`, `{"type":"long","logicalType":"timestamp-millis"}`, `1500`, `"1970-01-01T00:00:01.5Z"`},
		{"enum's default", colours, `{"type":"enum","name":"C","symbols":["none","red"],"default":"none"}`, `"green"`, `"none"`},
		{"type's alias", colours, `{"type":"enum","name":"Colour","aliases":["C"],"symbols":["red","green"]}`, `"green"`, `"green"`},
		{"short name", colours, `{"type":"enum","name":"x.C","symbols":["red","green"]}`, `"red"`, `"red"`},
		{"to nullable", `"int"`, `["null","long"]`, `7`, `7`},
		{"from nullable", `["null","int"]`, `"long"`, `7`, `7`},
		{"exact branch before promotion", `"int"`, `["double","int"]`, `7`, `7`},
		{"first promotion", `"int"`, `["string","double","long"]`, `7`, `7.0`},
		{"nested", `{"type":"map","values":{"type":"array","items":"int"}}`, `{"type":"map","values":{"type":"array","items":"double"}}`, `{"k":[1,2]}`, `{"k":[1.0,2.0]}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d := fromFiles(t, field(row.writer), field(row.reader))
			v, _, err := d.Decode(t.Context(), record(encode(t, field(row.writer), `{"a":`+row.value+`}`)))
			require.NoError(t, err)
			requireJSON(t, `{"a":`+row.want+`}`, v)
		})
	}
}

func TestProjectionErrors(t *testing.T) {
	t.Parallel()
	const millis, micros = `{"type":"long","logicalType":"timestamp-millis"}`, `{"type":"long","logicalType":"timestamp-micros"}`
	const colours = `{"type":"enum","name":"C","symbols":["red","green"]}`
	for _, row := range []struct {
		name, writer, reader, value, want string
		reason                            decode.Reason
	}{
		{"narrower", `"long"`, `"int"`, `7`, `a: long cannot be read as int`, decode.Projection},
		{"other unit", millis, micros, `7`, `a: long (timestamp-millis) cannot be read as long (timestamp-micros)`, decode.Projection},
		{"other scale", `{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`, `{"type":"bytes","logicalType":"decimal","precision":4,"scale":1}`, `"1.25"`, `a: decimal(4,2) cannot be read as decimal(4,1)`, decode.Projection},
		{"other name", colours, `{"type":"enum","name":"D","symbols":["red"]}`, `"red"`, `a: enum "C" cannot be read as enum "D"`, decode.Projection},
		{"no branch", `"string"`, `["null","int"]`, `"x"`, `a: string is no branch of the reader's union`, decode.Projection},
		{"no branch that could", `["null","string"]`, `["null","int"]`, `null`, `a: string is no branch of the reader's union`, decode.Projection},
		{"no symbol", colours, `{"type":"enum","name":"C","symbols":["red"]}`, `"green"`, `a: "green" is no symbol of enum "C"`, decode.Value},
		{"null", `["null","int"]`, `"int"`, `null`, `a: null cannot be read as int`, decode.Value},
		{"branch", `["int","string"]`, `"int"`, `"x"`, `a: string cannot be read as int`, decode.Value},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d := fromFiles(t, field(row.writer), field(row.reader))
			_, _, err := d.Decode(t.Context(), record(encode(t, field(row.writer), `{"a":`+row.value+`}`)))
			requireReason(t, row.reason, err)
			require.ErrorContains(t, err, row.want)
		})
	}
}

// TestRecords: fields by name, by alias, reordered, dropped and by default, in a
// record that holds itself.
func TestRecords(t *testing.T) {
	t.Parallel()
	const writer = `{"type":"record","name":"Node","fields":[
		{"name":"gone","type":"string"},
		{"name":"old","type":"int"},
		{"name":"both","type":"int"},
		{"name":"kids","type":{"type":"array","items":"Node"}}]}`
	const reader = `{"type":"record","name":"Tree","aliases":["Node"],"fields":[
		{"name":"kids","type":{"type":"array","items":"Tree"}},
		{"name":"new","aliases":["older","old"],"type":"long"},
		{"name":"other","aliases":["both"],"type":"int","default":-1},
		{"name":"both","type":"int"},
		{"name":"bytes","type":"bytes","default":"\u00ff"},
		{"name":"inner","default":{"x":{"s":"d"}},"type":{"type":"map","values":{"type":"record","name":"I","fields":[
			{"name":"s","type":"string"},{"name":"n","type":["long","null"],"default":5}]}}}]}`
	d := fromFiles(t, writer, reader)
	b := encode(t, writer, `{"gone":"g","old":1,"both":2,"kids":[{"gone":"h","old":3,"both":4,"kids":[]}]}`)
	v, schema, err := d.Decode(t.Context(), record(b))
	require.NoError(t, err)
	const rest = `"bytes":"/w==","inner":{"x":{"s":"d","n":5}}}`
	requireJSON(t, `{"kids":[{"kids":[],"new":3,"other":-1,"both":4,`+rest+`],"new":1,"other":-1,"both":2,`+rest, v)
	schemas, err := d.Schemas(t.Context(), "events")
	require.NoError(t, err)
	require.Equal(t, []*event.Schema{schema}, schemas)

	lacking := fromFiles(t, writer, `{"type":"record","name":"Node","fields":[{"name":"n","type":"int"}]}`)
	_, _, err = lacking.Decode(t.Context(), record(b))
	requireReason(t, decode.Projection, err)
	require.EqualError(t, err, "decode: read schema 0: n: the writer lacks this field and it has no default")
}

// TestDifferential holds projection against another library, over random pairs of
// schemas of which the second could have evolved from the first.
func TestDifferential(t *testing.T) {
	t.Parallel()
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		p := pairs{t: t}
		root := p.record(3)
		writer, reader := p.text(root.writer), p.text(root.reader)
		resolved, err := avro.Resolve(avro.MustParse(writer), avro.MustParse(reader))
		require.NoError(t, err)
		b, err := avro.MustParse(writer).Encode(root.value())
		require.NoError(t, err)
		var want any
		_, err = resolved.Decode(b, &want)
		require.NoError(t, err)

		got, _, err := fromFiles(outer, writer, reader).Decode(outer.Context(), record(b))
		require.NoError(t, err, "%s\n%s", writer, reader)
		require.Empty(t, cmp.Diff(plain(want), plain(got), cmpopts.EquateEmpty()), "%s\n%s", writer, reader)
	})
}

// pairs draws types as JSON: the writer's, one that may read it, and its values.
type pairs struct {
	t     *rapid.T
	names int
}

type drawn struct {
	writer, reader any
	value          func() any
}

func (p *pairs) text(v any) string {
	b, err := json.Marshal(v)
	require.NoError(p.t, err)
	return string(b)
}

func (p *pairs) name() string {
	p.names++
	return fmt.Sprintf("N%d", p.names)
}

func (p *pairs) pick(readers ...any) any { return rapid.SampledFrom(readers).Draw(p.t, "reader") }

func (p *pairs) any(depth int) drawn {
	kinds := []string{"int", "long", "float", "double", "string", "bytes", "boolean", "enum", "fixed"}
	if depth > 0 {
		kinds = append(kinds, "record", "array", "map", "nullable", "widened")
	}
	switch kind := rapid.SampledFrom(kinds).Draw(p.t, "kind"); kind {
	case "int":
		return drawn{kind, p.pick("int", "long", "float", "double"), func() any { return rapid.Int32Range(-9999, 9999).Draw(p.t, "int") }}
	case "long":
		return drawn{kind, p.pick("long", "float", "double"), func() any { return rapid.Int64Range(-9999, 9999).Draw(p.t, "long") }}
	case "float":
		return drawn{kind, p.pick("float", "double"), func() any { return rapid.Float32().Draw(p.t, "float") }}
	case "double":
		return drawn{kind, kind, func() any { return rapid.Float64().Draw(p.t, "double") }}
	case "string":
		return drawn{kind, p.pick("string", "bytes"), func() any { return rapid.String().Draw(p.t, "string") }}
	case "bytes":
		return drawn{kind, p.pick("string", "bytes"), func() any { return []byte(rapid.String().Draw(p.t, "bytes")) }}
	case "boolean":
		return drawn{kind, kind, func() any { return rapid.Bool().Draw(p.t, "bool") }}
	case "enum":
		name := p.name()
		enum := func(extra string, symbols ...string) any {
			return map[string]any{"type": "enum", "name": extra + name, "symbols": symbols, "default": symbols[0]}
		}
		return drawn{enum("", "A", "B", "C"), p.pick(enum("", "A", "B", "C"), enum("ns.", "C", "D", "A")), func() any {
			return rapid.SampledFrom([]string{"A", "B", "C"}).Draw(p.t, "symbol")
		}}
	case "fixed":
		name := p.name()
		writer := map[string]any{"type": "fixed", "name": name, "size": 3}
		reader := map[string]any{"type": "fixed", "name": "R" + name, "size": 3, "aliases": []string{name}}
		return drawn{writer, reader, func() any { return rapid.SliceOfN(rapid.Byte(), 3, 3).Draw(p.t, "fixed") }}
	case "array":
		item := p.any(depth - 1)
		return drawn{map[string]any{"type": kind, "items": item.writer}, map[string]any{"type": kind, "items": item.reader}, func() any {
			items := []any{}
			for range rapid.IntRange(0, 3).Draw(p.t, "items") {
				items = append(items, item.value())
			}
			return items
		}}
	case "map":
		item := p.any(depth - 1)
		return drawn{map[string]any{"type": kind, "values": item.writer}, map[string]any{"type": kind, "values": item.reader}, func() any {
			return map[string]any{"k": item.value()}
		}}
	case "nullable", "widened":
		inner := p.any(depth - 1)
		if _, union := inner.reader.([]any); union {
			return inner
		}
		reader := p.pick([]any{"null", inner.reader}, []any{inner.reader, "null"})
		if kind == "widened" {
			return drawn{inner.writer, reader, inner.value}
		}
		return drawn{[]any{"null", inner.writer}, reader, func() any {
			if rapid.Bool().Draw(p.t, "null") {
				return nil
			}
			return inner.value()
		}}
	}
	return p.record(depth - 1)
}

func (p *pairs) record(depth int) drawn {
	name := p.name()
	var writer, reader []map[string]any
	var values []func() any
	for i := range rapid.IntRange(0, 4).Draw(p.t, "fields") {
		f, fieldName := p.any(depth), fmt.Sprintf("f%d", i)
		values = append(values, f.value)
		writer = append(writer, map[string]any{"name": fieldName, "type": f.writer})
		switch rapid.SampledFrom([]string{"keep", "drop", "rename"}).Draw(p.t, "fate") {
		case "keep":
			reader = append(reader, map[string]any{"name": fieldName, "type": f.reader})
		case "rename":
			reader = append(reader, map[string]any{"name": "x" + fieldName, "aliases": []string{fieldName}, "type": f.reader})
		}
	}
	if rapid.Bool().Draw(p.t, "added") {
		added := map[string]any{"name": "added", "type": []any{"string", "null"}, "default": "new"}
		reader = append(reader, added)
	}
	if len(reader) > 1 {
		reader = rapid.Permutation(reader).Draw(p.t, "order")
	}
	declare := func(fields []map[string]any) any {
		return map[string]any{"type": "record", "name": name, "fields": append([]map[string]any{}, fields...)}
	}
	return drawn{declare(writer), declare(reader), func() any {
		m := map[string]any{}
		for i, value := range values {
			m[fmt.Sprintf("f%d", i)] = value()
		}
		return m
	}}
}

// plain makes the values of both libraries comparable.
func plain(v any) any {
	switch v := v.(type) {
	case *event.Object:
		m := map[string]any{}
		for i, name := range v.Names {
			m[name] = plain(v.Values[i])
		}
		return m
	case map[string]any:
		m := map[string]any{}
		for name, x := range v {
			m[name] = plain(x)
		}
		return m
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = plain(x)
		}
		return out
	case int32:
		return int64(v)
	case float32:
		return float64(v)
	}
	return v
}
