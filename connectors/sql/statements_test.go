package sql

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

func TestParseStatement(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		`CALL put_policy(:id, :title_2)`:               {"id", "title_2"},
		`SELECT :id::text, x::int, :id`:                {"id", "id"},
		`SELECT ':no', "a:no", 'it''s :no', :yes`:      {"yes"},
		"SELECT `:no`, :yes -- :no\n, :also /* :no */": {"yes", "also"},
		`DO $$ :no $$; SELECT $tag$ :no $$ $tag$ :a`:   {"a"},
		`SELECT a[1:2], b := :c, $1`:                   {"c"},
		`SELECT 'open :no`:                             nil,
	} {
		require.Equal(t, want, parseStatement(text).parameters, text)
	}
}

func FuzzParseStatement(f *testing.F) {
	f.Add(`CALL put_policy(:id, ':title', "x"::text) -- :no`)
	f.Add("$a$:b$a$ /* :c */ `:d` :e")
	f.Fuzz(func(t *testing.T, text string) {
		s := parseStatement(text)
		var again strings.Builder
		for i, p := range s.parameters {
			again.WriteString(s.texts[i] + ":" + p)
		}
		again.WriteString(s.texts[len(s.parameters)])
		require.Equal(t, text, again.String(), "nothing is lost")
	})
}

func TestStatements(t *testing.T) {
	t.Parallel()
	dsn, db := database(t, 0)
	exec(t, db, `CREATE TABLE policies (id TEXT PRIMARY KEY, title TEXT, version INTEGER, by TEXT)`, `CREATE TABLE gone (id TEXT, who TEXT)`)
	c := newConnector(t, Config{
		DSN: dsn, Map: columns("id", path("event.id", event.String), "title", path("event.title", event.String), "who", path("key", "")),
		Statement: &Statement{
			Upsert: `INSERT INTO policies VALUES (:id, :title, :version, ':key=' || :key) ON CONFLICT (id) DO UPDATE SET title = :title, version = :version`,
			Delete: `INSERT INTO gone VALUES (:id, :who)`,
		},
	})
	t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
	upsert := func(version int64) change {
		return change{key: "k", version: version, offset: version, fields: object("id", "p1", "title", "T"+string(rune('0'+version)))}
	}
	var batch []*connector.Delivery
	for _, ch := range []change{upsert(1), upsert(3), upsert(2), {key: "never seen", offset: 4, deleted: true}} {
		batch = append(batch, prepared(t, c, ch))
	}
	results := c.PushBatch(t.Context(), batch)
	require.Equal(t, []connector.Result{{}, {}, {Receipt: connector.Receipt{Stale: true}}, {}}, results)
	require.Equal(t, []string{"p1 T3 3 :key=k"}, dump(t, db, `SELECT * FROM policies`))
	require.Empty(t, dump(t, db, `SELECT * FROM gone`), "a key that was never upserted has no id to delete")

	_, err := c.Push(t.Context(), prepared(t, c, change{key: "k", offset: 5, deleted: true}))
	require.NoError(t, err)
	require.Equal(t, []string{"p1 k"}, dump(t, db, `SELECT * FROM gone`))

	text, err := prepared(t, c, upsert(6)).Document.(*document).MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, `{"id": "p1", "title": "T6", "who": "k"}`, string(text))
}

func TestValidate(t *testing.T) {
	t.Parallel()
	dsn, id := connector.NewSecret("sqlite://a.db"), path("event.id", "")
	table := func(change func(*Table)) Config {
		p := policies()
		change(&p.Value)
		return Config{DSN: dsn, Tables: []connector.Named[Table]{p}}
	}
	for name, c := range map[string]struct {
		config Config
		want   []string
	}{
		"nothing to write": {Config{DSN: dsn}, []string{": neither tables nor statement is set"}},
		"both": {
			Config{DSN: dsn, Tables: []connector.Named[Table]{policies()}, Statement: &Statement{}},
			[]string{"statement: tables and statement exclude each other"},
		},
		"a map beside tables": {
			Config{DSN: dsn, Tables: []connector.Named[Table]{policies()}, Map: id},
			[]string{"map: only a statement has its map here; a table has its own"},
		},
		"tables of a statement": {
			Config{DSN: dsn, Statement: &Statement{}, CreateTables: true}, []string{"create_tables: a statement has no tables to create"},
		},
		"an unknown parameter": {
			Config{DSN: dsn, Statement: &Statement{Upsert: ":id :key :version :titel", Delete: ":no"}, Map: columns("id", id, "key", id)},
			[]string{
				`map.key: "key" is a parameter already`, `statement.delete: unknown parameter ":no": map gives none of that name`,
				`statement.upsert: unknown parameter ":titel": map gives none of that name`,
			},
		},
		"one expression for all parameters": {
			Config{DSN: dsn, Statement: &Statement{}, Map: id}, []string{"map: want the parameters by name, not one expression for all"},
		},
		"one expression for all columns": {
			table(func(t *Table) { t.Map = id }), []string{"tables.policies.map: want the columns by name, not one expression for all"},
		},
		"a key that is no column": {
			table(func(t *Table) { t.Key = []string{"ID"} }), []string{`tables.policies.key: key column "ID" is not in the map`},
		},
		"version twice": {
			table(func(t *Table) { t.VersionColumn = "title" }), []string{`tables.policies.version_column: column "title" is in the map too`},
		},
		"replace without each": {
			table(func(t *Table) { t.Replace = true }), []string{"tables.policies.replace: only a table with each has rows to replace"},
		},
		"a key of the item alone": {
			table(func(t *Table) { t.Each, t.As, t.Map = id.Expr, "rule", columns("id", path("rule.id", "")) }),
			[]string{`tables.policies.key: each key column depends on "rule": one must not, to tell which rows belong to one event`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, m := range c.config.Validate() {
				got = append(got, m.Path+": "+m.Message)
			}
			slices.Sort(got)
			require.Empty(t, cmp.Diff(c.want, got), "(-want +got)")
		})
	}
}

func TestDependsOn(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]bool{
		"rule.no": true, "1 + rule.no": true, "string(rule)": true, "[rule][0].no": true,
		"event.rule": false, "event.rules": false, "rules.rule": false, `"rule" + event.id`: false, `'a rule'`: false, `"\"" + rule.no`: true,
	} {
		require.Equal(t, want, dependsOn(&connector.Tree{Expr: &connector.Expr{Source: source}}, "rule"), source)
	}
}
