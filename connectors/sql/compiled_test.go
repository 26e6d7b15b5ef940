package sql

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/mapping"
)

// TestCompiledExpressions joins the connector with the real expressions: the types
// of columns, items of a list, and a key that a tombstone has too.
func TestCompiledExpressions(t *testing.T) {
	t.Parallel()
	schema, err := event.ParseSchema(`{"type": "record", "name": "Policy", "fields": [
		{"name": "id", "type": "string"}, {"name": "name", "type": ["null", "string"]}, {"name": "from", "type": {"type": "int", "logicalType": "date"}},
		{"name": "rules", "type": {"type": "array", "items": {"type": "record", "name": "Rule", "fields": [
			{"name": "no", "type": "int"}, {"name": "text", "type": "string"}]}}}]}`)
	require.NoError(t, err)
	compile := func(source string, loop *mapping.Loop) *connector.Tree {
		e := &connector.Expr{Source: source}
		require.Empty(t, mapping.Compile(e, mapping.Decl{Loop: loop}, []*event.Schema{schema}))
		return &connector.Tree{Expr: e}
	}
	list := compile("event.rules", nil).Expr
	loop := &mapping.Loop{List: list, Item: "rule"}
	dsn, db := database(t, 0)
	c := newConnector(t, Config{DSN: dsn, Schema: schemaCreate, Tables: []connector.Named[Table]{
		{Name: "policies", Value: Table{Key: []string{"id"}, Map: columns(
			"id", compile("key", nil), "name", compile("event.name", nil), "from", compile("event.from", nil), "count", compile("size(event.rules)", nil),
		)}},
		{Name: "rules", Value: Table{Key: []string{"policy", "no"}, Each: list, As: "rule", Replace: true, Map: columns(
			"policy", compile("event.id", loop), "no", compile("rule.no", loop), "text", compile("rule.text + '!'", loop),
		)}},
	}})
	t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
	upsert := change{key: "p1", version: 1, offset: 1, fields: object(
		"id", "p1", "name", nil, "from", event.Date(0), "rules", []any{object("no", int64(1), "text", "a"), object("no", int64(2), "text", "b")},
	)}
	d := upsert.delivery()
	d.Event.Schema = schema
	require.NoError(t, c.Prepare(d))
	_, err = c.Push(t.Context(), d)
	require.NoError(t, err)
	require.Equal(t, []string{"p1 <nil> 1970-01-01 2"}, dump(t, db, `SELECT id, name, "from", count FROM policies`))
	require.Equal(t, []string{"p1 1 a!", "p1 2 b!"}, dump(t, db, `SELECT policy, no, text FROM rules ORDER BY no`))
	require.Empty(t, cmp.Diff([]string{"id TEXT 1", "name TEXT 0", "from TEXT 0", "count INTEGER 0", "policy TEXT 1", "no INTEGER 1", "text TEXT 0"},
		dump(t, db, `SELECT name, type, "notnull" FROM pragma_table_info('policies') UNION ALL SELECT name, type, "notnull" FROM pragma_table_info('rules')`)),
		"(-want +got)")

	_, err = c.Push(t.Context(), prepared(t, c, change{key: "p1", offset: 2, deleted: true}))
	require.NoError(t, err)
	require.Empty(t, dump(t, db, `SELECT id FROM policies UNION SELECT policy FROM rules`))
}
