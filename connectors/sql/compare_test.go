package sql

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// What the first push would make or add is compared as what is not there.
func TestCompareChangesNoSchema(t *testing.T) {
	t.Parallel()
	dsn, db := database(t, 0)
	without := policies()
	without.Value.Map = columns("id", path("event.id", event.String))
	with := policies()
	with.Value.DeletedColumn = "deleted_at"
	connect := func(table connector.Named[Table]) *Connector {
		c := newConnector(t, Config{DSN: dsn, Tables: []connector.Named[Table]{table}, Schema: schemaEvolve})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		return c
	}
	compare := func(table connector.Named[Table]) (connector.Comparison, []string) {
		c := connect(table)
		before := dump(t, db, `SELECT sql FROM sqlite_schema`)
		found, err := c.Compare(t.Context(), []*connector.Delivery{
			prepared(t, c, change{key: "a", version: 1, offset: 1, fields: object("id", "a", "title", "t")}),
		})
		require.NoError(t, err)
		var names []string
		require.NoError(t, c.Names(t.Context(), func(name string) error {
			names = append(names, name)
			return nil
		}))
		require.Equal(t, before, dump(t, db, `SELECT sql FROM sqlite_schema`))
		return found[0], names
	}
	found, names := compare(with)
	require.Equal(t, connector.Missing, found.Difference, "there is no table")
	require.Empty(t, names)

	c := connect(without)
	_, err := c.Push(t.Context(), prepared(t, c, change{key: "a", version: 1, offset: 1, fields: object("id", "a")}))
	require.NoError(t, err)
	found, names = compare(with)
	require.Equal(t, connector.Different, found.Difference, "there is no column")
	require.Equal(t, []connector.FieldDifference{{Field: `policies["a"].title`, Want: "t", Have: "null"}}, found.Fields)
	require.Equal(t, found.Names, names)
}

// SQLite needs no type for a column: such a one is there all the same.
func TestCompareReadsColumnsWithoutType(t *testing.T) {
	t.Parallel()
	for _, columns := range []string{
		`id PRIMARY KEY, title TEXT, version INTEGER, deleted_at TEXT`,
		`id TEXT PRIMARY KEY, title, version, deleted_at TEXT`,
		`id TEXT PRIMARY KEY, title TEXT, version INTEGER, deleted_at`,
	} {
		t.Run(columns, func(t *testing.T) {
			t.Parallel()
			dsn, db := database(t, 0)
			exec(t, db, `CREATE TABLE policies (`+columns+`)`)
			table := policies()
			table.Value.DeletedColumn = "deleted_at"
			c := newConnector(t, Config{DSN: dsn, Tables: []connector.Named[Table]{table}})
			t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
			upsert := func(key string) *connector.Delivery {
				return prepared(t, c, change{key: key, version: 1, offset: 1, fields: object("id", key, "title", "t")})
			}
			ds := []*connector.Delivery{upsert("a"), prepared(t, c, change{key: "b", offset: 2, deleted: true})}
			for _, d := range []*connector.Delivery{ds[0], upsert("b"), ds[1]} {
				_, err := c.Push(t.Context(), d)
				require.NoError(t, err)
			}
			found, err := c.Compare(t.Context(), ds)
			require.NoError(t, err)
			require.Equal(t, []connector.Comparison{{Names: []string{`policies "a"`}}, {}}, found)
			var names []string
			require.NoError(t, c.Names(t.Context(), func(name string) error {
				names = append(names, name)
				return nil
			}))
			require.Equal(t, []string{`policies "a"`}, names)
		})
	}
}
