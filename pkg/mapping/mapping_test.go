package mapping

import (
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

const schemaText = `{"type": "record", "name": "Case", "namespace": "gov", "fields": [
	{"name": "id", "type": "string"},
	{"name": "type", "type": {"type": "enum", "name": "Kind", "symbols": ["opened", "closed"]}},
	{"name": "version", "type": "long"},
	{"name": "fee", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
	{"name": "due", "type": {"type": "int", "logicalType": "date"}},
	{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
	{"name": "agent", "type": ["null", {"type": "record", "name": "Agent", "fields": [
		{"name": "email", "type": ["null", "string"]}, {"name": "desk", "type": "int"}]}]},
	{"name": "tags", "type": {"type": "map", "values": "string"}},
	{"name": "rules", "type": {"type": "array", "items": {"type": "record", "name": "Rule", "fields": [
		{"name": "no", "type": "int"}, {"name": "text", "type": "string"}]}}},
	{"name": "parent", "type": ["null", "Case"]},
	{"name": "target", "type": ["null", "string", {"type": "array", "items": "string"}]}
]}`

func schema(t *testing.T) *event.Schema {
	t.Helper()
	s, err := event.ParseSchema(schemaText)
	require.NoError(t, err)
	s.ID = 7
	return s
}

func object2(pairs ...any) *event.Object {
	o := &event.Object{}
	for i := 0; i < len(pairs); i += 2 {
		o.Add(pairs[i].(string), pairs[i+1])
	}
	return o
}

func testEvent(s *event.Schema) *event.Event {
	rules := []any{object2("no", int64(1), "text", "first"), object2("no", int64(2), "text", "second")}
	value := object2(
		"id", "C-1", "type", "opened", "version", int64(1)<<60+1,
		"fee", event.Decimal{Unscaled: big.NewInt(1230), Scale: 2},
		"due", event.Date(20000), "at", time.UnixMilli(1_700_000_000_123).UTC(),
		"agent", object2("email", nil, "desk", int64(4)),
		"tags", map[string]any{"zone": "north"},
		"rules", rules, "parent", nil, "target", []any{"a", "b"},
	)
	return &event.Event{
		Record: &event.Record{
			Position: event.Position{Topic: "cases", Partition: 3, Offset: 9}, Key: []byte("C-1"), Value: []byte{0},
			Headers: []event.Header{{Key: "region", Value: []byte("eu")}},
		},
		Key: "C-1", HasKey: true, Value: value, Schema: s,
	}
}

func expr(source string) *connector.Expr {
	return &connector.Expr{Source: source, Place: connector.Place{File: "c.yaml", Path: "map.x", Line: 10, Column: 5}}
}

func TestEvalGivesWhatAUserExpects(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for source, want := range map[string]string{
		`event.id`:                                 `"C-1"`,
		`event.version`:                            `1152921504606846977`,
		`event.version + 1`:                        `1152921504606846978`,
		`event.fee`:                                `"12.30"`,
		`event.fee + " EUR"`:                       `"12.30 EUR"`,
		`event.due`:                                `"2024-10-04"`,
		`"due " + event.due`:                       `"due 2024-10-04"`,
		`event.at`:                                 `"2023-11-14T22:13:20.123Z"`,
		`event.at + duration("1h")`:                `"2023-11-14T23:13:20.123Z"`,
		`event.type in ["opened"]`:                 `true`,
		`event.type == "closed" ? 1 : 2`:           `2`,
		`event.agent`:                              `{"email":null,"desk":4}`,
		`event.agent.email`:                        `null`,
		`event.agent.desk`:                         `4`,
		`event.?agent.?email.orValue("none")`:      `"none"`,
		`[event.parent.agent.email]`:               `[null]`,
		`event.agent.email == "x"`:                 `false`,
		`has(event.agent)`:                         `true`,
		`has(event.parent)`:                        `false`,
		`event.parent.id`:                          `null`,
		`event.tags`:                               `{"zone":"north"}`,
		`event.tags.zone`:                          `"north"`,
		`event.tags["zone"].upperAscii()`:          `"NORTH"`,
		`event.rules`:                              `[{"no":1,"text":"first"},{"no":2,"text":"second"}]`,
		`event.rules[1]`:                           `{"no":2,"text":"second"}`,
		`event.rules.map(r, r.text)`:               `["first","second"]`,
		`event.rules.filter(r, r.no > 1)[0].text`:  `"second"`,
		`{"b": event.rules.size(), "a": event.id}`: `{"a":"C-1","b":2}`,
		`event`:        `{"id":"C-1","type":"opened","version":1152921504606846977,"fee":"12.30","due":"2024-10-04","at":"2023-11-14T22:13:20.123Z","agent":{"email":null,"desk":4},"tags":{"zone":"north"},"rules":[{"no":1,"text":"first"},{"no":2,"text":"second"}],"parent":null,"target":["a","b"]}`,
		`event.target`: `["a","b"]`,
		`event.target == null ? "all" : event.target[0]`: `"a"`,
		`key + "/" + topic + "/" + string(partition)`:    `"C-1/cases/3"`,
		`offset`:                           `9`,
		`headers["region"]`:                `"eu"`,
		`event.rules == event.rules`:       `true`,
		`event.rules[0] == event.rules[1]`: `false`,
		`dyn(event.agent).desk`:            `4`,
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			e := expr(source)
			require.Empty(t, Compile(e, Decl{}, []*event.Schema{s}))
			v, err := e.Eval(connector.Scope{Event: testEvent(s)})
			require.NoError(t, err)
			got, err := event.AppendJSON(nil, v)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
		})
	}
}

// A field path's fast form must say what CEL says.
func TestFieldPathAgreesWithCEL(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for _, source := range []string{
		"event.id", "event.version", "event.agent", "event.agent.email", "event.agent.desk",
		"event.parent.agent.desk", "event.rules", "event.target", "event.fee", "event.due",
	} {
		fast, slow := expr(source), expr("["+source+"][0]")
		require.Empty(t, Compile(fast, Decl{}, []*event.Schema{s}))
		require.Empty(t, Compile(slow, Decl{}, []*event.Schema{s}))
		c, err := fast.Program.(*program).forSchema(s)
		require.NoError(t, err)
		require.NotNil(t, c.path, source)
		a, err := fast.Eval(connector.Scope{Event: testEvent(s)})
		require.NoError(t, err)
		b, err := slow.Eval(connector.Scope{Event: testEvent(s)})
		require.NoError(t, err)
		x, err := event.AppendJSON(nil, a)
		require.NoError(t, err)
		y, err := event.AppendJSON(nil, b)
		require.NoError(t, err)
		require.Equal(t, string(y), string(x), source)
	}
}

func TestCompileNamesPlaceAndNearestWord(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for source, want := range map[string]string{
		`regex.extract(key, "(")`:  "10:5: regex.extract: error parsing regexp: missing closing ): `(`",
		`event.agent.emial`:        `10:16: undefined field 'emial'; did you mean "email"?`,
		`evnt.id`:                  `10:5: undeclared reference to 'evnt' (did you mean 'event'?)`,
		`event.id + event.version`: `10:14: found no matching overload for '_+_' applied to '(string, int)'`,
		"true &&\n  event.idd > 1": `11:8: undefined field 'idd'; did you mean "id"?`,
		`event.id ==`:              `10:16: Syntax error: mismatched input '<EOF>'`,
	} {
		problems := Compile(expr(source), Decl{}, []*event.Schema{s, s})
		require.NotEmpty(t, problems, source)
		require.Contains(t, fmt.Sprintf("%d:%d: %s", problems[0].Place.Line, problems[0].Place.Column, problems[0].Message), want)
		require.Len(t, problems, 1, "the same mistake for two schemas is one")
	}
}

func TestCompileChecksTheKindOfResult(t *testing.T) {
	t.Parallel()
	s := schema(t)
	require.Empty(t, Compile(expr(`event.type == "opened"`), Decl{Want: "bool"}, []*event.Schema{s}))
	problems := Compile(expr(`event.type`), Decl{Want: "bool"}, []*event.Schema{s})
	require.Len(t, problems, 1)
	require.Equal(t, "the expression is string, want bool", problems[0].Message)
	e := expr(`response.ok`)
	require.Empty(t, Compile(e, Decl{Want: "bool", Vars: []string{"response"}}, []*event.Schema{s}))
	_, err := e.Eval(connector.Scope{Event: testEvent(s), Locals: map[string]any{"response": map[string]any{"ok": "yes"}}})
	require.EqualError(t, err, "map.x: the result is not true or false")
}

func TestLoopItemsAreTyped(t *testing.T) {
	t.Parallel()
	s := schema(t)
	d := Decl{Loop: &Loop{List: expr("event.rules"), Item: "rule"}}
	e := expr("rule.text")
	require.Empty(t, Compile(e, d, []*event.Schema{s}))
	require.True(t, e.UsesEvent)
	require.Equal(t, event.String, e.Type.Kind)
	ev := testEvent(s)
	rules, _ := ev.Value.Get("rules")
	v, err := e.Eval(connector.Scope{Event: ev, Locals: map[string]any{"rule": rules.([]any)[1]}})
	require.NoError(t, err)
	require.Equal(t, "second", v)
	require.Len(t, Compile(expr("rule.txt"), d, []*event.Schema{s}), 1)
	require.Len(t, Compile(expr("rule"), Decl{Loop: &Loop{List: expr("event.id"), Item: "rule"}}, []*event.Schema{s}), 1)
}

func TestStaticTypes(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for source, want := range map[string]event.Type{
		"event.fee":             {Kind: event.Bytes, Logical: "decimal"},
		"event.due":             {Kind: event.Int, Logical: "date"},
		"event.agent.desk":      {Kind: event.Int},
		"event.id + key":        {Kind: event.String},
		"size(event.rules) + 1": {Kind: event.Long},
		"event.?agent.?email":   {Kind: event.String},
		"timestamp":             {Kind: event.Long, Logical: "timestamp-micros"},
	} {
		e := expr(source)
		require.Empty(t, Compile(e, Decl{}, []*event.Schema{s}))
		require.NotNil(t, e.Type, source)
		require.Equal(t, want.Kind, e.Type.Kind, source)
		require.Equal(t, want.Logical, e.Type.Logical, source)
	}
	e := expr("event.target")
	require.Empty(t, Compile(e, Decl{}, []*event.Schema{s}))
	require.Nil(t, e.Type)
}

// A schema that came after the config was loaded is compiled for when its first
// event comes; if that does not work the delivery is held, not dead-lettered.
func TestNewSchemaIsCompiledForOnFirstUse(t *testing.T) {
	t.Parallel()
	s := schema(t)
	e := expr("event.id + key")
	require.Empty(t, Compile(e, Decl{}, nil))
	v, err := e.Eval(connector.Scope{Event: testEvent(s)})
	require.NoError(t, err)
	require.Equal(t, "C-1C-1", v)

	other, err := event.ParseSchema(`{"type": "record", "name": "Other", "fields": [{"name": "no", "type": "int"}]}`)
	require.NoError(t, err)
	other.ID = 8
	ev := testEvent(other)
	ev.Value = object2("no", int64(1))
	_, err = e.Eval(connector.Scope{Event: ev})
	var schemaErr *SchemaError
	require.ErrorAs(t, err, &schemaErr)
	require.Equal(t, 8, schemaErr.ID)
}

func TestTombstonesHaveNoEvent(t *testing.T) {
	t.Parallel()
	ev := &event.Event{Record: &event.Record{Position: event.Position{Offset: 4}}, Key: "K"}
	for source, want := range map[string]any{"key": "K", "offset": int64(4), `event == null ? "gone" : "there"`: "gone"} {
		e := expr(source)
		require.Empty(t, Compile(e, Decl{}, nil))
		v, err := e.Eval(connector.Scope{Event: ev})
		require.NoError(t, err)
		require.Equal(t, want, v, source)
	}
	e := expr("event.id")
	require.Empty(t, Compile(e, Decl{}, nil))
	_, err := e.Eval(connector.Scope{Event: ev})
	require.ErrorContains(t, err, "event is null, for the record is a tombstone")
	var schemaErr *SchemaError
	require.NotErrorAs(t, err, &schemaErr, "a tombstone is no schema's fault")
}

func TestParseText(t *testing.T) {
	t.Parallel()
	at := connector.Place{Line: 3, Column: 10}
	text, err := ParseText(`/a{{b}}/{event.id}/{ {"}": "x"}["}"] }`, at)
	require.NoError(t, err)
	require.Equal(t, []connector.Part{
		{Literal: "/a{b}/"},
		{Expr: &connector.Expr{Source: "event.id", Place: connector.Place{Line: 3, Column: 19}}},
		{Literal: "/"},
		{Expr: &connector.Expr{Source: ` {"}": "x"}["}"] `, Place: connector.Place{Line: 3, Column: 30}}},
	}, text.Parts)
	for source, want := range map[string]string{
		"a{b": "character 2: { is not closed; write {{ for a brace",
		"a}b": "character 2: } without {; write }} for a brace",
		"{ }": "character 1: {} holds no expression",
	} {
		_, err := ParseText(source, at)
		require.EqualError(t, err, want)
	}
}

func BenchmarkSixExpressions(b *testing.B) {
	tree, ev := sixExpressions(b)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		v, err := tree.Eval(connector.Scope{Event: ev})
		require.NoError(b, err)
		buf, err = event.AppendJSON(buf[:0], v)
		require.NoError(b, err)
	}
}

func sixExpressions(tb testing.TB) (*connector.Tree, *event.Event) {
	tb.Helper()
	s, err := event.ParseSchema(schemaText)
	require.NoError(tb, err)
	tree := &connector.Tree{}
	for i, source := range []string{"event.id", "event.type", "event.rules", "event.agent.desk", `event.id + "/" + event.type`, "event.version + 1"} {
		e := expr(source)
		require.Empty(tb, Compile(e, Decl{}, []*event.Schema{s}))
		tree.Fields = append(tree.Fields, connector.Branch{Name: fmt.Sprint(i), Tree: &connector.Tree{Expr: e}})
	}
	return tree, testEvent(s)
}

// The fast form of a field path, beside CEL's way to the same field.
func BenchmarkFieldPath(b *testing.B) {
	s, err := event.ParseSchema(schemaText)
	require.NoError(b, err)
	ev := testEvent(s)
	for name, source := range map[string]string{"path": "event.agent.desk", "cel": "dyn(event.agent.desk)"} {
		e := expr(source)
		require.Empty(b, Compile(e, Decl{}, []*event.Schema{s}))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := e.Eval(connector.Scope{Event: ev})
				require.NoError(b, err)
			}
		})
	}
}

// What a config costs to load: one expression for one schema.
func BenchmarkCompile(b *testing.B) {
	s, err := event.ParseSchema(schemaText)
	require.NoError(b, err)
	for b.Loop() {
		require.Empty(b, Compile(expr(`event.id + "/" + event.type`), Decl{}, []*event.Schema{s}))
	}
}
