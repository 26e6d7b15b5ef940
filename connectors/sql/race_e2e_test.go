//go:build e2e

package sql

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Another member writes the first version of a key in a transaction that commits
// while ours waits for it: ours is older, and must find that out.
func TestE2EFirstVersionsRace(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		dsn, db := s.fresh(t)
		c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Tables: []connector.Named[Table]{policies()}, Schema: schemaCreate})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		require.NoError(t, c.PushBatch(t.Context(), batch(t, c, 1, 1, nil))[0].Err) // makes the tables
		newer := prepared(t, c, change{key: "a", version: 5, offset: 5, fields: object("id", "a", "title", "newer")})
		g := guardOf(newer)
		require.NoError(t, g.place(newer.Document.(*document), nil))
		types, err := c.fitTables(t.Context())
		require.NoError(t, err)
		other, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		insert := c.guards.insert(types[c.guards], "", [][]any{c.guardRow("a", g)})[0]
		_, err = other.ExecContext(t.Context(), insert.sql(), insert.arguments...)
		require.NoError(t, err)

		older := prepared(t, c, change{key: "a", version: 3, offset: 3, fields: object("id", "a", "title", "older")})
		results := make(chan connector.Result)
		go func() { results <- c.PushBatch(t.Context(), []*connector.Delivery{older})[0] }()
		waiting := `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
		if s.dsn.Scheme == "mysql" {
			waiting = `SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND state IN ('Update', 'Updating', 'update', 'Statistics', 'Sending data')`
		}
		require.Eventually(t, func() bool {
			var n int
			return db.QueryRow(waiting).Scan(&n) == nil && n > 0
		}, time.Minute, 10*time.Millisecond)
		require.NoError(t, other.Commit())
		r := <-results
		require.NoError(t, r.Err)
		require.True(t, r.Receipt.Stale)
		require.Equal(t, []string{"0"}, dump(t, db, `SELECT COUNT(*) FROM policies WHERE id = 'a'`))
	})
}

// Another member makes the guard of a key after ours has looked for it. No DSN may hide
// that: MySQL's driver can be told to count rows that a statement left as they were.
func TestE2EGuardMadeMeanwhileIsSeen(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		dsn, db := s.fresh(t)
		if s.dialect == (mysql{}) {
			dsn.RawQuery = "clientFoundRows=true"
		}
		c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Tables: []connector.Named[Table]{policies()}, Schema: schemaCreate})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		types, err := c.fitTables(t.Context())
		require.NoError(t, err)
		tx, held := c.newTransaction(), map[string]guard{}
		defer tx.rollback(t.Context())
		require.NoError(t, tx.read(t.Context(), c.guardQuery([]string{"a"}, true), func(rows scanner) error { return scanGuards(rows, held) }))
		ours := map[string]guard{"a": {rows: "{}"}}
		insert := c.guards.insert(types[c.guards], "", [][]any{c.guardRow("a", ours["a"])})[0]
		_, err = db.Exec(insert.sql(), insert.arguments...)
		require.NoError(t, err)
		require.ErrorIs(t, tx.commit(t.Context(), c.saveGuards(types[c.guards], held, ours)), errRaced)
	})
}
