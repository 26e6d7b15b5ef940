//go:build duckdb && cgo

package warehouse

import (
	"context"
	"database/sql"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
	"github.com/hms-sme/policysync/pkg/event"
)

func TestDuckDBConformance(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{
		RefusesBadTitle: true,
		New: func(t *testing.T) connectortest.System {
			w := newWarehouse(t, &Config{
				DSN: connector.NewSecret("duckdb://" + filepath.Join(t.TempDir(), "a history.db")),
				Map: recordColumns(), Schema: schemaCreate,
			})
			// One process opens the file once: its own engine is asked, beside the connector.
			s, err := w.open(t.Context())
			require.NoError(t, err)
			db := s.engine.(*duckDB).db
			do := func(statements ...string) {
				for _, statement := range statements {
					_, err := db.ExecContext(t.Context(), statement)
					require.NoError(t, err)
				}
			}
			do("DROP VIEW data_warehouse_latest", "DROP TABLE data_warehouse",
				`CREATE TABLE data_warehouse (_key VARCHAR, _version BIGINT, _deleted BOOLEAN, _topic VARCHAR, _topic_id VARCHAR,
				_partition INTEGER, _offset BIGINT, _event_time TIMESTAMP, _delivery_id VARCHAR,
				title VARCHAR CHECK (title <> '`+connectortest.BadTitle+`'), version BIGINT, _ingested_at TIMESTAMP,
				PRIMARY KEY (_key, _topic_id, _partition, _offset))`, latestView(w.table))
			return connectortest.System{
				Connector: w,
				Applied:   func(t *testing.T) map[string]connectortest.Record { return latest(t, db) },
				Fail: map[connector.Class]func(*testing.T) func(){
					connector.Unavailable: func(*testing.T) func() {
						do("DROP VIEW data_warehouse_latest", "ALTER TABLE data_warehouse RENAME TO elsewhere")
						w.cfg.Schema = schemaCheck
						return func() { do("ALTER TABLE elsewhere RENAME TO data_warehouse", latestView(w.table)) }
					},
				},
			}
		},
	})
}

func TestDuckDBLatest(t *testing.T) {
	latestIsTheGuardsAnswer(t, "duckdb://:memory:", func(w *Warehouse) *sql.DB { return w.engine.(*duckDB).db })
}

// DuckDB reads what was written as Parquet, and finds the newest versions by the query
// of the page.
func TestDuckDBReadsParquet(t *testing.T) {
	page, err := os.ReadFile("../../docs/connectors/warehouse.md")
	require.NoError(t, err)
	query, _, _ := strings.Cut("WITH marked"+strings.SplitN(string(page), "```sql\nWITH marked", 2)[1], "```")
	db, err := sql.Open("duckdb", "")
	require.NoError(t, err)
	defer db.Close()
	rapid.Check(t, func(rt *rapid.T) {
		history, batches := drawHistory(rt)
		dir := t.TempDir()
		w, err := New(&Config{DSN: connector.NewSecret("parquet://" + dir), Map: recordColumns(), Schema: schemaCreate},
			connector.Env{Target: "dataWarehouse", Timeout: time.Minute})
		require.NoError(rt, err)
		defer func() { require.NoError(rt, w.Close(context.Background())) }()
		pushAll(t.Context(), rt, w, batches)
		ask := "SELECT _key, title FROM (" + strings.ReplaceAll(query, "lake/lake", dir+"/data_warehouse") + ")"
		require.Empty(rt, diff.Diff(newest(history), titles(rt, db, ask)))
	})
}

// Each kind of value is in DuckDB, and in Parquet as DuckDB reads it, what it was.
func TestDuckDBTypes(t *testing.T) {
	logical := func(kind event.Kind, name string) *event.Type {
		return &event.Type{Kind: kind, Logical: name, Precision: 9, Scale: 2}
	}
	at := time.Date(2026, 2, 3, 4, 5, 6, 789_123_000, time.UTC)
	columns := []struct {
		name string
		typ  *event.Type
		v    any
		want string
	}{
		{"yes", &event.Type{Kind: event.Boolean}, true, "true"},
		{"small", &event.Type{Kind: event.Int}, int64(-7), "-7"},
		{"large", &event.Type{Kind: event.Long}, int64(1) << 62, "4611686018427387904"},
		{"ratio", &event.Type{Kind: event.Double}, 0.25, "0.25"},
		{"fee", logical(event.Bytes, event.LogicalDecimal), event.Decimal{Unscaled: big.NewInt(-1230), Scale: 2}, "-12.30"},
		{"effective", logical(event.Int, event.LogicalDate), event.Date(20_000), "2024-10-04"},
		{"changed", logical(event.Long, event.LogicalTimestampMicros), at, "2026-02-03 04:05:06.789123"},
		{"wall", logical(event.Long, event.LogicalLocalMillis), at.Truncate(time.Millisecond), "2026-02-03 04:05:06.789"},
		{"raw", &event.Type{Kind: event.Bytes}, []byte{1, 255}, `\x01\xFF`},
		{"rules", &event.Type{Kind: event.Array}, []any{int64(1), "two"}, `[1,"two"]`},
		{"unknown", nil, "Prüfung 'Ω' 🏛", "Prüfung 'Ω' 🏛"},
		{"missing", &event.Type{Kind: event.Long}, nil, ""},
	}
	tree, value := &connector.Tree{}, &event.Object{}
	for _, c := range columns {
		tree.Fields = append(tree.Fields, connector.Branch{Name: c.name, Tree: leaf(c.name, c.typ)})
		value.Add(c.name, c.v)
	}
	folder := t.TempDir()
	for dsn, from := range map[string]string{
		"duckdb://" + filepath.Join(folder, "types.db"): "data_warehouse_latest",
		"parquet://" + folder:                           "read_parquet('" + folder + "/data_warehouse/*.parquet')",
	} {
		w := closeAfter(t, newWarehouse(t, &Config{DSN: connector.NewSecret(dsn), Map: tree, Schema: schemaCreate}))
		d := upsert(value)
		require.NoError(t, w.Prepare(d))
		_, err := w.Push(t.Context(), d)
		require.NoError(t, err)
		db, err := sql.Open("duckdb", "")
		require.NoError(t, err)
		defer db.Close()
		if e, ok := w.engine.(*duckDB); ok {
			db = e.db
			found, err := w.Compare(t.Context(), []*connector.Delivery{d})
			require.NoError(t, err)
			require.Empty(t, found[0].Difference, "%+v", found[0].Fields)
		}
		_, err = db.ExecContext(t.Context(), "SET TimeZone = 'UTC'")
		require.NoError(t, err)
		for _, c := range columns {
			var got, columnType string
			require.NoError(t, db.QueryRowContext(t.Context(),
				"SELECT coalesce(CAST("+c.name+" AS VARCHAR), ''), typeof("+c.name+") FROM "+from).Scan(&got, &columnType))
			if columnType == "TIMESTAMP WITH TIME ZONE" {
				c.want += "+00"
			}
			require.Equal(t, c.want, got, "%s %s", c.name, columnType)
		}
	}
}
