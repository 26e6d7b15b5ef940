//go:build e2e

package sql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// onPostgres runs a test on PostgreSQL, with a connector to an empty database whose
// tables it has made.
func onPostgres(t *testing.T, table connector.Named[Table], run func(t *testing.T, c *Connector, db *sql.DB)) {
	t.Helper()
	each(t, func(t *testing.T, s server) {
		t.Helper()
		if s.dialect != (postgres{}) {
			t.Skip("another database")
		}
		dsn, db := s.fresh(t)
		c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Tables: []connector.Named[Table]{table}, Schema: schemaCreate})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		_, err := c.fitTables(t.Context())
		require.NoError(t, err)
		run(t, c, db)
	})
}

// A table that has grown since it was analyzed, or never was, as in a first load: the
// guards of a batch must still be found by their keys.
func TestE2EPostgresReadsOnlyTheGuardsOfTheBatch(t *testing.T) {
	onPostgres(t, policies(), func(t *testing.T, c *Connector, db *sql.DB) {
		t.Helper()
		exec(t, db, `ALTER TABLE policysync_versions SET (autovacuum_enabled = false)`,
			`INSERT INTO policysync_versions SELECT 'legacy', 'P-' || n, 1, false, 't', 0, n, '{}' FROM generate_series(1, 20000) n`)
		var keys []string
		for i := range 100 {
			keys = append(keys, fmt.Sprint("P-", i*100))
		}
		slices.Sort(keys)
		w := c.guardQuery(keys, true)
		tx, err := db.Begin()
		require.NoError(t, err)
		defer tx.Rollback()
		rows, err := tx.Query("EXPLAIN ANALYZE "+w.sql(), w.arguments...)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var line string
			require.NoError(t, rows.Scan(&line))
			require.NotContains(t, line, "Rows Removed by Filter")
			require.NotContains(t, line, "Seq Scan")
		}
		require.NoError(t, rows.Err())
	})
}

// Few rows go as a list of values, many as arrays: what is stored must be the same.
func TestE2EPostgresStoresFewAndManyRowsAlike(t *testing.T) {
	onPostgres(t, kindsTable(), func(t *testing.T, c *Connector, db *sql.DB) {
		t.Helper()
		push := func(key string, n int) {
			var ds []*connector.Delivery
			for i := range n {
				_, _, values := everyKind()
				values.Values[0] = fmt.Sprintf(`%s {"%d",\}`, key, i)
				ds = append(ds, prepared(t, c, change{key: fmt.Sprint(key, i), version: 1, offset: 1, fields: values}))
			}
			require.NoError(t, c.PushBatch(t.Context(), ds)[0].Err)
		}
		push("one", 1)
		push("many", fewRows+1)
		require.Equal(t, []string{fmt.Sprint(fewRows+2, " ", 1)}, dump(t, db,
			`SELECT COUNT(*), COUNT(DISTINCT (flag, count, ratio, raw, at, day, clock, fee, list, nothing)) FROM kinds`))
		require.Equal(t, []string{`many {"7",\}`, `one {"0",\}`}, dump(t, db,
			`SELECT id FROM kinds WHERE id LIKE '%{"7"%' OR id LIKE 'one%' ORDER BY id`))
	})
}

// In whatever way rows are written, a type's length cuts nothing: what fits is stored
// whole, and what is too long is refused.
func TestE2EPostgresCutsNothing(t *testing.T) {
	for column, values := range map[string]struct{ fits, tooLong string }{
		"character(3)":         {"abc", "abcd"},
		"character varying(3)": {"abc", "abcd"},
		"character(3)[]":       {"{abc,def}", "{abcd}"},
		"bit(8)":               {"10101010", "101010101"},
		"bit varying(8)":       {"1010", "101010101"},
		"bit(2)[]":             {"{10,01}", "{101}"},
		"short":                {"abc", "abcd"},
		"shorter":              {"abc", "abcd"},
	} {
		t.Run(column, func(t *testing.T) {
			each(t, func(t *testing.T, s server) {
				t.Helper()
				if s.dialect != (postgres{}) {
					t.Skip("another database")
				}
				dsn, db := s.fresh(t)
				exec(t, db, `CREATE DOMAIN short AS character varying(3)`, `CREATE DOMAIN shorter AS short CHECK (VALUE <> '')`,
					`CREATE TABLE policies (id text PRIMARY KEY, title `+column+`, version bigint)`)
				c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Tables: []connector.Named[Table]{policies()}})
				t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
				// As a list, as one argument for all rows, as an array.
				for version, rows := range []struct{ n, nulls int }{{1, 0}, {fewRows + 1, 0}, {fewRows + 1, 1}} {
					push := func(title string) error {
						titles := map[int]any{}
						for i := range rows.n {
							if titles[i] = nil; i >= rows.nulls {
								titles[i] = title
							}
						}
						return c.PushBatch(t.Context(), batch(t, c, rows.n, version, titles))[0].Err
					}
					err := push(values.tooLong)
					require.Equal(t, connector.Permanent, connector.Classify(err), "%v: %v", rows, err)
					require.NoError(t, push(values.fits))
					require.Equal(t, []string{fmt.Sprint(values.fits, " ", rows.n-rows.nulls)},
						dump(t, db, `SELECT title::text, COUNT(*) FROM policies WHERE title IS NOT NULL GROUP BY 1`))
				}
			})
		})
	}
}

// A guard that is written again stays on its page, and touches no index.
func TestE2EPostgresWritesGuardsInPlace(t *testing.T) {
	onPostgres(t, policies(), func(t *testing.T, c *Connector, db *sql.DB) {
		t.Helper()
		const keys = 200
		for version := range 2 {
			require.NoError(t, c.PushBatch(t.Context(), batch(t, c, keys, version, nil))[0].Err)
		}
		require.NoError(t, c.Close(t.Context())) // a server counts what a connection did, at the latest when it ends
		inPlace := `SELECT n_tup_upd = n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'policysync_versions' AND n_tup_upd = ` + fmt.Sprint(keys)
		require.Eventually(t, func() bool {
			counted := dump(t, db, inPlace)
			return len(counted) > 0 && counted[0] == "true"
		}, time.Minute, 50*time.Millisecond)
	})
}

// Whatever ends a transaction before its commit, no lock may outlive it.
func TestE2EPostgresKeepsNoTransactionOpen(t *testing.T) {
	open := `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`
	for _, test := range []struct {
		name string
		end  func(t *testing.T, c *Connector, d *connector.Delivery)
	}{
		{"the row is refused", func(t *testing.T, c *Connector, _ *connector.Delivery) {
			t.Helper()
			var ds []*connector.Delivery
			for i := range 2 {
				ds = append(ds, prepared(t, c, change{key: fmt.Sprint(i), version: 1, fields: object("id", "b", "title", "\x00")}))
			}
			require.Equal(t, connector.Permanent, connector.Classify(c.PushBatch(t.Context(), ds)[0].Err))
		}},
		{"the version is stale", func(t *testing.T, c *Connector, d *connector.Delivery) {
			t.Helper()
			_, err := c.Push(t.Context(), d)
			require.NoError(t, err)
			d.Version.Value--
			receipt, err := c.Push(t.Context(), d)
			require.NoError(t, err)
			require.True(t, receipt.Stale)
		}},
		{"its context ends between two statements", func(t *testing.T, c *Connector, d *connector.Delivery) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			tx := c.newTransaction()
			require.NoError(t, tx.read(ctx, c.guardQuery([]string{d.Key}, true), func(rows scanner) error { return scanGuards(rows, nil) }))
			cancel()
			tx.rollback(ctx)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			onPostgres(t, policies(), func(t *testing.T, c *Connector, db *sql.DB) {
				t.Helper()
				test.end(t, c, prepared(t, c, change{key: "a", version: 2, fields: object("id", "a", "title", "")}))
				// After a minute the pool closes what is idle, and so would end it.
				require.Eventually(t, func() bool { return dump(t, db, open)[0] == "0" }, 30*time.Second, 10*time.Millisecond)
			})
		})
	}
}
