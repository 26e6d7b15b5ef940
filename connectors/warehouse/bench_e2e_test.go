//go:build e2e

package warehouse

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
	"github.com/hms-sme/policysync/pkg/event"
)

// Writes to ClickHouse beside a bare client that writes the policy's columns alone, and
// beside one that writes all columns of the connector's table, of values that fit. It
// prints the rates, and what each row costs the client's process.
func TestE2EThroughput(t *testing.T) {
	rows := 100_000
	if testing.Short() {
		rows = 5000
	}
	server, dsn := e2eServer(t, "throughput")
	w := closeAfter(t, newWarehouse(t, &Config{DSN: connector.NewSecret(dsn.String()), Map: recordColumns(), Schema: schemaCreate}))
	pushAll(t.Context(), t, w, [][]change{{{key: "a", topicID: 1}}})
	require.NoError(t, server.Exec(t.Context(), "CREATE TABLE throughput.plain (id String, title String, version Int64) ENGINE = MergeTree ORDER BY id"))
	require.NoError(t, server.Exec(t.Context(), "CREATE TABLE throughput.same AS throughput.data_warehouse"))
	session, err := w.open(t.Context())
	require.NoError(t, err)
	title := strings.Repeat("Weekend Inspections ", 25)
	for _, size := range []int{1, 100, 1000, 5000} {
		var plainRows, sameRows [][]any
		contestants := []*connectortest.Contestant{
			{Name: "connector", Write: func(ds []*connector.Delivery) {
				for _, r := range w.PushBatch(t.Context(), ds) {
					require.NoError(t, r.Err)
				}
			}},
			{Name: "client", Write: func([]*connector.Delivery) {
				insertBare(t, server, "INSERT INTO throughput.plain (id, title, version)", plainRows)
			}},
			{Name: "client with the same columns", Write: func([]*connector.Delivery) {
				insertBare(t, server, "INSERT INTO throughput.same ("+quote(w.table.columnNames()...)+")", sameRows)
			}},
		}
		written := max(rows*size/5000/size, 10) * size
		for from := 0; from < written; from += size {
			ds := make([]*connector.Delivery, size)
			plainRows, sameRows = make([][]any, size), make([][]any, size)
			for i := range ds {
				d := upsert(&event.Object{Names: []string{"title", "version"}, Values: []any{title, int64(from)}})
				d.Key, d.Event.Offset = fmt.Sprintf("P-%06d", from+i), int64(from+i)
				d.ID = "policies/2/" + d.Key
				require.NoError(t, w.Prepare(d))
				ds[i], plainRows[i] = d, []any{d.Key, title, int64(from)}
				sameRows[i], err = session.fit(w.table, d.Document, time.Now())
				require.NoError(t, err)
			}
			for i := range contestants { // by turns, so that all meet the same neighbours on the machine
				contestants[(i+from/size)%len(contestants)].Run(t, ds)
			}
		}
		t.Logf("in batches of %d", size)
		for _, c := range contestants {
			t.Logf("  %-28s %7.0f rows/s, %5.1f µs of its own CPU per row; the connector does %.2f of it", c.Name, float64(written)/c.Took.Seconds(),
				float64(c.CPU.Microseconds())/float64(written), c.Took.Seconds()/contestants[0].Took.Seconds())
		}
	}
}

// insertBare is a client of its own.
func insertBare(t *testing.T, server driver.Conn, insert string, rows [][]any) {
	t.Helper()
	batch, err := server.PrepareBatch(t.Context(), insert)
	require.NoError(t, err)
	defer func() { _ = batch.Close() }() // after Send there is nothing to close
	for _, row := range rows {
		require.NoError(t, batch.Append(row...))
	}
	require.NoError(t, batch.Send())
}
