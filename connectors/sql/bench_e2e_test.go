//go:build e2e

package sql

import (
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// inspections is a table of the width that policies have.
func inspections() connector.Named[Table] {
	fee, at := path("event.fee", ""), path("event.at", "")
	fee.Expr.Type = &event.Type{Kind: event.Bytes, Logical: event.LogicalDecimal, Precision: 9, Scale: 2}
	at.Expr.Type = &event.Type{Kind: event.Long, Logical: event.LogicalTimestampMicros}
	return connector.Named[Table]{Name: "policies", Value: Table{Key: []string{"id"}, VersionColumn: "version", Map: columns(
		"id", path("event.id", event.String), "title", path("event.title", event.String), "status", path("event.status", event.String), "at", at, "fee", fee,
	)}}
}

// TestE2EThroughput pushes 20,000 policies and then their second version, on one
// connection, beside two clients that write the same rows with multi-row upserts:
// one that writes nothing else, and one that also writes the rows of the versions,
// but reads and compares none. It prints the rates.
func TestE2EThroughput(t *testing.T) {
	policies := 20_000
	if testing.Short() {
		policies = 5000
	}
	each(t, func(t *testing.T, s server) {
		t.Helper()
		for _, size := range []int{100, 1000, 5000} {
			dsn, db := s.fresh(t)
			tables := []connector.Named[Table]{inspections()}
			c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Tables: tables, Schema: schemaCreate})
			batches := [2][][]*connector.Delivery{}
			for version := range batches {
				for from := 0; from < policies; from += size {
					var ds []*connector.Delivery
					for n := from; n < from+size; n++ {
						id := fmt.Sprintf("P-%06d", n)
						ds = append(ds, prepared(t, c, change{key: id, version: int64(version), offset: int64(version*policies + n), fields: object(
							"id", id, "title", fmt.Sprint("Weekend Inspections of round ", version), "status", "active", "at", time.UnixMicro(1_790_000_000_123_456), "fee", "12.30",
						)}))
					}
					batches[version] = append(batches[version], ds)
				}
			}
			_, err := c.fitTables(t.Context())
			require.NoError(t, err)
			exec(t, db, `CREATE TABLE bare AS SELECT * FROM policies`, `ALTER TABLE bare ADD PRIMARY KEY (id)`)
			for version, list := range batches {
				// By turns, so that all meet the same neighbours on the machine.
				var bare, same, ours time.Duration
				for _, ds := range list {
					rows, guards := make([][]any, len(ds)), make([][]any, len(ds))
					for i, d := range ds {
						doc := d.Document.(*document)
						rows[i] = doc.rows[0][0].values
						guards[i], err = c.guardRow(d.Key, guardOf(d, doc.keys))
						require.NoError(t, err)
						guards[i][0] = "bare"
					}
					data := upsert{"bare", tables[0].Value.Key, c.shape.tables()[0].columns, rows}
					began := time.Now()
					bareClient(t, db, c.dialect, data)
					bare += time.Since(began)
					began = time.Now()
					bareClient(t, db, c.dialect, data, upsert{guardTable, guardKey, c.guards.columns, guards})
					same += time.Since(began)
					began = time.Now()
					require.NoError(t, c.PushBatch(t.Context(), ds)[0].Err)
					ours += time.Since(began)
				}
				rate := func(d time.Duration) float64 { return float64(policies) / d.Seconds() }
				t.Logf("%s in batches of %d: connector %.0f rows/s; client %.0f, ratio %.2f; client with versions %.0f, ratio %.2f",
					[]string{"insert", "update"}[version], size, rate(ours), rate(bare), bare.Seconds()/ours.Seconds(), rate(same), same.Seconds()/ours.Seconds())
			}
			require.NoError(t, c.Close(t.Context()))
		}
	})
}

// upsert is rows for a table.
type upsert struct {
	table        string
	key, columns []string
	rows         [][]any
}

// bareClient writes rows in a transaction, by statements of as many as fit.
func bareClient(t *testing.T, db *sql.DB, d dialect, upserts ...upsert) {
	t.Helper()
	tx, err := db.Begin()
	require.NoError(t, err)
	for _, u := range upserts {
		others := slices.DeleteFunc(slices.Clone(u.columns), func(c string) bool { return slices.Contains(u.key, c) })
		for part := range slices.Chunk(u.rows, maxArguments/len(u.columns)) {
			w := newWriter(d).text("INSERT INTO " + u.table + " (" + quoteAll(d, u.columns) + ") ")
			w.list(part)
			require.NoError(t, w.text(d.onCollision(u.key, others)).exec(t.Context(), tx))
		}
	}
	require.NoError(t, tx.Commit())
}
