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
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
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

// TestE2EThroughput pushes policies and then their second version, on one connection,
// beside two clients that write the same rows with multi-row upserts: one that writes
// nothing else, and one that also writes the rows of the versions, but reads and
// compares none. It prints the rates, and what each row costs the client's process.
func TestE2EThroughput(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		for _, size := range []int{1, 100, 1000, 5000} {
			dsn, db := s.fresh(t)
			measure(t, connector.NewSecret(dsn.String()), db, size)
		}
	})
	t.Run("SQLite", func(t *testing.T) {
		for _, size := range []int{1, 100, 1000, 5000} {
			dsn, db := database(t, time.Second)
			exec(t, db, `PRAGMA synchronous = off`)
			measure(t, dsn, db, size)
		}
	})
}

func measure(t *testing.T, dsn connector.Secret, db *sql.DB, size int) {
	t.Helper()
	policies := min(20_000, 2000*size)
	if testing.Short() {
		policies = min(5000, 100*size)
	}
	config := inspections()
	c := newConnector(t, Config{DSN: dsn, Tables: []connector.Named[Table]{config}, Schema: schemaCreate})
	bare, same, versions := newTable(c.dialect, "bare", &config.Value), newTable(c.dialect, "same", &config.Value), newGuardTable(c.dialect)
	versions.name = "same_versions"
	exec(t, db, bare.definition(), same.definition(), versions.definition())
	_, err := c.fitTables(t.Context())
	require.NoError(t, err)
	for version := range 2 {
		contestants := []*connectortest.Contestant{
			{Name: "connector", Write: func(ds []*connector.Delivery) {
				require.NoError(t, c.PushBatch(t.Context(), ds)[0].Err)
			}},
			{Name: "client", Write: func(ds []*connector.Delivery) {
				bareClient(t, db, upsert{bare, rowsOf(ds)})
			}},
			{Name: "client with versions", Write: func(ds []*connector.Delivery) {
				guards := make([][]any, len(ds))
				for i, d := range ds {
					g := guardOf(d)
					g.rows = d.Document.(*document).keysText
					guards[i] = c.guardRow(d.Key, g)
				}
				bareClient(t, db, upsert{same, rowsOf(ds)}, upsert{versions, guards})
			}},
		}
		for from := 0; from < policies; from += size {
			ds := make([]*connector.Delivery, size)
			for i := range ds {
				id := fmt.Sprintf("P-%06d", from+i)
				ds[i] = prepared(t, c, change{key: id, version: int64(version), offset: int64(version*policies + from + i), fields: object(
					"id", id, "title", fmt.Sprintf("Weekend Inspections %d of round %d", i, version), "status", "active",
					"at", time.UnixMicro(1_790_000_000_123_456+int64(i)), "fee", fmt.Sprintf("%d.30", i),
				)})
			}
			for i := range contestants { // by turns, so that all meet the same neighbours on the machine
				contestants[(i+from/size)%len(contestants)].Run(t, ds)
			}
		}
		t.Logf("%s in batches of %d", []string{"insert", "update"}[version], size)
		for _, x := range contestants {
			t.Logf("  %-20s %7.0f rows/s, %5.1f µs of its own CPU per row; the connector does %.2f of it", x.Name, float64(policies)/x.Took.Seconds(),
				float64(x.CPU.Microseconds())/float64(policies), x.Took.Seconds()/contestants[0].Took.Seconds())
		}
	}
	require.NoError(t, c.Close(t.Context()))
}

func rowsOf(ds []*connector.Delivery) [][]any {
	rows := make([][]any, len(ds))
	for i, d := range ds {
		rows[i] = d.Document.(*document).rows[0][0].values
	}
	return rows
}

// upsert is rows for a table.
type upsert struct {
	*table
	rows [][]any
}

// bareClient writes rows in a transaction, by statements of as many as fit.
func bareClient(t *testing.T, db *sql.DB, upserts ...upsert) {
	t.Helper()
	tx, err := db.Begin()
	require.NoError(t, err)
	for _, u := range upserts {
		key := u.keyColumns()
		others := slices.DeleteFunc(slices.Clone(u.columns), func(c string) bool { return slices.Contains(key, c) })
		for part := range slices.Chunk(u.rows, maxArguments/len(u.columns)) {
			w := newWriter(u.dialect).text("INSERT INTO " + u.name + " (" + quoteAll(u.dialect, u.columns) + ") ")
			w.list(part)
			_, err := tx.ExecContext(t.Context(), w.text(u.dialect.onCollision(key, others)).sql(), w.arguments...)
			require.NoError(t, err)
		}
	}
	require.NoError(t, tx.Commit())
}
