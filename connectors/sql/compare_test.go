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
