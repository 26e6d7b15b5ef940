package mapping

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

const nullableSchema = `{"type": "record", "name": "R", "fields": [
	{"name": "id", "type": "string"},
	{"name": "name", "type": ["null", "string"]},
	{"name": "open", "type": ["null", "boolean"]},
	{"name": "nr", "type": ["null", "long"]},
	{"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
	{"name": "agent", "type": ["null", {"type": "record", "name": "Agent", "fields": [
		{"name": "email", "type": "string"}, {"name": "nick", "type": ["null", "string"]}]}]},
	{"name": "labels", "type": ["null", {"type": "map", "values": "string"}]},
	{"name": "tags", "type": ["null", {"type": "array", "items": ["null", "string"]}]},
	{"name": "notes", "type": {"type": "array", "items": ["null", "string"]}},
	{"name": "any", "type": ["null", "string", "long"]}
]}`

func nullSchema(t *testing.T) *event.Schema {
	t.Helper()
	s, err := event.ParseSchema(nullableSchema)
	require.NoError(t, err)
	return s
}

// allNull is an event in which all that may be null is, and other an event in which
// nothing is.
func nullEvents(s *event.Schema) (allNull, other *event.Event) {
	record := &event.Record{Value: []byte{0}}
	return &event.Event{Record: record, Schema: s, Value: object2(
			"id", "x", "name", nil, "open", nil, "nr", nil, "at", nil, "agent", nil, "labels", nil, "tags", nil, "notes", []any{nil}, "any", nil)},
		&event.Event{Record: record, Schema: s, Value: object2(
			"id", "x", "name", "N", "open", true, "nr", int64(7), "at", testEvent(s).Timestamp, "agent", object2("email", "e", "nick", "k"),
			"labels", map[string]any{"a": "b"}, "tags", []any{"t"}, "notes", []any{"n"}, "any", "y")}
}

// What compiles must not fail on a null.
func TestNullsThatAreSafe(t *testing.T) {
	t.Parallel()
	s := nullSchema(t)
	allNull, other := nullEvents(s)
	for _, row := range []struct{ source, null, value string }{
		{`event.name`, `null`, `"N"`},
		{`event.agent.email`, `null`, `"e"`},
		{`[event.name, event.agent.nick]`, `[null,null]`, `["N","k"]`},
		{`{"a": event.nr}`, `{"a":null}`, `{"a":7}`},
		{`event.name == null`, `true`, `false`},
		{`null != event.tags`, `false`, `true`},
		{`event.agent == null`, `true`, `false`},
		{`event.any == null`, `true`, `false`},
		{`event.?name == null`, `true`, `false`},
		{`event.id == null`, `false`, `false`},
		{`event.name == "N"`, `false`, `true`},
		{`event.name in ["N"]`, `false`, `true`},
		{`event.nr == 7 ? event.name : "no"`, `"no"`, `"N"`},
		{`event.?agent.?email.orValue("none")`, `"none"`, `"e"`},
		{`event.agent.?nick.orValue("none")`, `"none"`, `"k"`},
		{`event.?name.optMap(n, n + "!").orValue("none")`, `"none"`, `"N!"`},
		{`event.name != null && event.name.startsWith("N")`, `false`, `true`},
		{`event.name == null || event.name.size() == 1`, `true`, `true`},
		{`!(event.name == null || event.nr == null) && event.name.size() < event.nr`, `false`, `true`},
		{`event.name == null ? "none" : event.name + "!"`, `"none"`, `"N!"`},
		{`event.name == "N" ? event.name + "!" : "none"`, `"none"`, `"N!"`},
		{`has(event.agent) ? event.agent.email + "!" : "none"`, `"none"`, `"e!"`},
		{`event.agent.nick != null ? event.agent.email + event.agent.nick : "none"`, `"none"`, `"ek"`},
		{`has(event.agent.nick) && event.agent.nick == "k"`, `false`, `true`},
		{`event.?labels.a.orValue("none")`, `"none"`, `"b"`},
		{`has(event.labels.a)`, `false`, `true`},
		{`event.notes.map(n, n == null ? "none" : n + "!")`, `["none"]`, `["n!"]`},
		{`event.notes.exists(n, n != null && n.size() == 1)`, `false`, `true`},
		{`event.?tags.orValue([]).size()`, `0`, `1`},
		{`cel.bind(n, event.?name.orValue("none"), n + "!")`, `"none!"`, `"N!"`},
		{`event.at == null ? 0 : event.at.getFullYear()`, `0`, `1`},
	} {
		t.Run(row.source, func(t *testing.T) {
			t.Parallel()
			e := expr(row.source)
			require.Empty(t, Compile(e, Decl{}, []*event.Schema{s}))
			for ev, want := range map[*event.Event]string{allNull: row.null, other: row.value} {
				v, err := e.Eval(connector.Scope{Event: ev})
				require.NoError(t, err)
				got, err := event.AppendJSON(nil, v)
				require.NoError(t, err)
				require.Equal(t, want, string(got))
			}
		})
	}
}

func TestNullsThatWouldFail(t *testing.T) {
	t.Parallel()
	s := nullSchema(t)
	const name = "event.name may be null here: test event.name != null before, or give a value in its place, as in event.?name.orValue(…)"
	for _, row := range []struct {
		source, want, message string
		column                int
	}{
		{source: `event.name + "!"`, message: name, column: 10},
		{source: `event.id + event.name`, message: name, column: 21},
		{source: `event.name.size() > 0`, message: name, column: 10},
		{source: `event.open && true`, message: `event.open may be null here: test event.open != null before, or give a value in its place, as in event.?open.orValue(…)`, column: 10},
		{source: `event.open`, want: "bool", message: `event.open may be null here: test event.open != null before, or give a value in its place, as in event.?open.orValue(…)`, column: 10},
		{source: `event.name == null && event.name.size() > 0`, message: name, column: 32},
		{source: `event.name != null || event.name.size() > 0`, message: name, column: 32},
		{source: `event.name == null ? event.name + "!" : "x"`, message: name, column: 31},
		{source: `event.name != null && event.agent.email.size() > 0`, message: `event.agent.email may be null here: test event.agent.email != null before, or give a value in its place, as in event.agent.?email.orValue(…)`, column: 38},
		{source: `event.labels.a`, message: `event.labels may be null here: test event.labels != null before, or give a value in its place, as in event.?labels.orValue(…)`, column: 10},
		{source: `event.tags.map(x, x)`, message: `event.tags may be null here: test event.tags != null before, or give a value in its place, as in event.?tags.orValue(…)`, column: 10},
		{source: `event.notes.map(n, n + "!")`, message: `n may be null here`, column: 24},
		{source: `event.notes.exists(n, n != null) && event.notes.all(n, n.size() > 0)`, message: `n may be null here`, column: 60},
		{source: `event.notes[0] + "!"`, message: `this may be null here`, column: 16},
		{source: `cel.bind(n, event.name, n + "!")`, message: `n may be null here`, column: 29},
		{source: `(event.nr == 7 ? event.name : "no") + "!"`, message: `this may be null here`, column: 20},
	} {
		t.Run(row.source, func(t *testing.T) {
			t.Parallel()
			at := connector.Place{Line: 10, Column: row.column}
			require.Empty(t, cmp.Diff([]Problem{{at, row.message}},
				Compile(&connector.Expr{Source: row.source, Place: connector.Place{Line: 10, Column: 5}}, Decl{Want: row.want}, []*event.Schema{s})))
		})
	}
}
