package sql

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

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
			Config{DSN: dsn, Statement: &Statement{}, Schema: schemaCreate}, []string{"schema: a statement has no tables to create"},
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
		"the table of the guards": {
			Config{DSN: dsn, Tables: []connector.Named[Table]{{Name: guardTable, Value: policies().Value}}},
			[]string{"tables.policysync_versions: the table belongs to policysync"},
		},
		"version twice": {
			table(func(t *Table) { t.VersionColumn = "title" }), []string{`tables.policies.version_column: column "title" is in the map too`},
		},
		"deletion time twice": {
			table(func(t *Table) { t.DeletedColumn = "title" }), []string{`tables.policies.deleted_column: column "title" is in the map too`},
		},
		"one column for version and deletion time": {
			table(func(t *Table) { t.DeletedColumn = t.VersionColumn }), []string{`tables.policies.deleted_column: column "version" is version_column too`},
		},
		"a condition on the item": {
			table(func(t *Table) { t.Each, t.As, t.When = id.Expr, "rule", path("rule.open", "").Expr }),
			[]string{`tables.policies.when: it is asked once per event and sees no "rule": filter the list of each instead`},
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
