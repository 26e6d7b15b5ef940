package event_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/event"
)

func TestParseSchema(t *testing.T) {
	t.Parallel()
	s, err := event.ParseSchema(`{
		"type": "record", "name": "Order", "namespace": "shop", "doc": "An order.", "aliases": ["Purchase", "old.Order"],
		"fields": [
			{"name": "id", "type": "string", "doc": "Its id.", "sensitive": true, "order": "ignore"},
			{"name": "lines", "aliases": ["rows"], "default": [], "type": {"type": "array", "items":
				{"type": "record", "name": "Line", "fields": [{"name": "of", "type": "Order"}]}}},
			{"name": "state", "type": {"type": "enum", "name": "other.State", "symbols": ["a", "b"], "default": "a"}},
			{"name": "again", "type": ["null", "other.State", {"type": "shop.Line"}]},
			{"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
			{"name": "tooBig", "type": {"type": "fixed", "name": "F", "size": 2, "logicalType": "decimal", "precision": 5}},
			{"name": "ref", "type": {"type": "F", "logicalType": "decimal", "precision": 2}},
			{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
			{"name": "onString", "type": {"type": "string", "logicalType": "date"}},
			{"name": "nested", "type": {"type": {"type": "map", "values": "int"}}}
		]}`)
	require.NoError(t, err)

	state := &event.Type{Kind: event.Enum, Name: "other.State", Symbols: []string{"a", "b"}, Default: "a"}
	order := &event.Type{Kind: event.Rec, Name: "shop.Order", Doc: "An order.", Aliases: []string{"shop.Purchase", "old.Order"}}
	line := &event.Type{Kind: event.Rec, Name: "shop.Line", Fields: []*event.Field{{Name: "of", Type: order}}}
	fixed := &event.Type{Kind: event.Fixed, Name: "shop.F", Size: 2}
	order.Fields = []*event.Field{
		{Name: "id", Type: &event.Type{Kind: event.String}, Doc: "Its id.", Props: map[string]json.RawMessage{"sensitive": json.RawMessage("true")}},
		{Name: "lines", Aliases: []string{"rows"}, Default: json.RawMessage("[]"), Type: &event.Type{Kind: event.Array, Items: line}},
		{Name: "state", Type: state},
		{Name: "again", Type: &event.Type{Kind: event.Union, Branches: []*event.Type{{Kind: event.Null}, state, line}}},
		{Name: "price", Type: &event.Type{Kind: event.Bytes, Logical: "decimal", Precision: 9, Scale: 2}},
		{Name: "tooBig", Type: fixed},
		{Name: "ref", Type: fixed},
		{Name: "at", Type: &event.Type{Kind: event.Long, Logical: "timestamp-millis"}},
		{Name: "onString", Type: &event.Type{Kind: event.String}},
		{Name: "nested", Type: &event.Type{Kind: event.Map, Items: &event.Type{Kind: event.Int}}},
	}
	require.Empty(t, cmp.Diff(order, s.Root))
	require.Same(t, s.Root, s.Root.Field("lines").Type.Items.Field("of").Type)
}

func TestParseSchemaErrors(t *testing.T) {
	t.Parallel()
	record := func(fields string) string { return `{"type":"record","name":"R","fields":[` + fields + `]}` }
	deep := strings.Repeat(`{"type":"array","items":`, 300) + `"int"` + strings.Repeat(`}`, 300)
	for _, row := range []struct{ name, text, want string }{
		{"no JSON", `{`, `unexpected EOF`},
		{"more text", `"int" "int"`, `text follows the schema`},
		{"number", `7`, `a type is a name, an object or an array`},
		{"no type", `{"name":"R"}`, `an object without "type" is no type`},
		{"unknown type", record(`{"name":"p","type":{"type":"array","items":["null","strin"]}}`), `p[]<1>: unknown type "strin"`},
		{"path", record(`{"name":"a","type":{"type":"record","name":"S","fields":[{"name":"b","type":{"type":"map","values":"x"}}]}}`), `a.b{}: unknown type "x"`},
		{"no fields", `{"type":"record","name":"R"}`, `record "R" has no array of fields`},
		{"bad name", `{"type":"record","name":"a-b","fields":[]}`, `record: "a-b" is no name`},
		{"primitive's name", `{"type":"fixed","name":"long","size":1}`, `fixed: "long" is the name of a primitive type`},
		{"bad field name", record(`{"name":"1","type":"int"}`), `field 0: "1" is no name`},
		{"field twice", record(`{"name":"a","type":"int"},{"name":"a","type":"int"}`), `record "R" has field "a" twice`},
		{"field without type", record(`{"name":"a"}`), `a: a field has no type`},
		{"type twice", record(`{"name":"a","type":{"type":"fixed","name":"R","size":1}}`), `a: fixed "R" is declared twice`},
		{"union in union", `["int",["null"]]`, `<1>: a union stands directly inside a union`},
		{"branch twice", `["int","int"]`, `<1>: a union has "int" twice`},
		{"empty union", `[]`, `a union has no branches`},
		{"enum default", `{"type":"enum","name":"E","symbols":["a"],"default":"b"}`, `enum "E": default "b" is none of its symbols`},
		{"symbol twice", `{"type":"enum","name":"E","symbols":["a","a"]}`, `enum "E": symbol "a" stands twice`},
		{"fixed size", `{"type":"fixed","name":"F","size":-1}`, `fixed "F": size -1 is no natural number`},
		{"no size", `{"type":"fixed","name":"F","size":0}`, `fixed "F": a fixed of no bytes holds nothing`},
		{"doc", record(`{"name":"a","type":"int","doc":7}`), `a: doc is no string`},
		{"nesting", deep, `types nest deeper than 200`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := event.ParseSchema(row.text)
			require.EqualError(t, err, "parse schema: "+row.want)
		})
	}
}

func FuzzParseSchema(f *testing.F) {
	f.Add(`{"type":"record","name":"a.R","fields":[{"name":"x","type":["null","R"],"default":null}]}`)
	f.Add(`{"type":"enum","name":"E","symbols":["a"],"default":"a"}`)
	f.Add(`{"type":"bytes","logicalType":"decimal","precision":1e9,"scale":-1}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := event.ParseSchema(text)
		if err == nil && s.Root.Kind == "" {
			t.Fatal("a type without kind")
		}
	})
}
