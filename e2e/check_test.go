//go:build e2e

package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver that reads PostgreSQL back
	"github.com/stretchr/testify/require"
)

// three are the targets of the large tests: an API, a database, a warehouse.
const three = `
  api:
    connector: scheduling
    url: "@api/v1/rules"
    concurrency: 64
    timeout: 4s
  database_@id: # its guards are its own: all tests share one database
    connector: sql
    dsn: "${POLICYSYNC_E2E_POSTGRES}"
    schema: create
    batch: {size: 500, linger: 50ms}
    concurrency: 2
    timeout: 4s
    tables:
      policies_@id:
        key: [id]
        version_column: version
        map: {id: event.payload.policyId, title: event.payload.name}
      rules_@id:
        each: event.payload.rules
        as: rule
        key: [policy_id, no]
        replace: true
        map: {policy_id: event.payload.policyId, no: rule.no, text: rule.text}
  warehouse:
    connector: warehouse
    dsn: "${POLICYSYNC_E2E_CLICKHOUSE}"
    table: history_@id
    batch: {size: 5000, linger: 500ms}
    concurrency: 2
    timeout: 4s
`

// check compares what the three systems hold with so many policies at version
// last, and says what is wrong.
func (w *world) check(policies, last int) (findings []string) {
	w.t.Helper()
	want := map[string]int64{}
	for n := range policies {
		want[key(n)] = int64(last)
	}
	arrived := w.api.Arrivals()
	if n := policies * last; arrived.Applied != n {
		findings = append(findings, fmt.Sprintf("api: %d of %d events arrived", arrived.Applied, n))
	}
	if arrived.OutOfOrder > 0 {
		findings = append(findings, fmt.Sprintf("api: %d events arrived after a later one of their policy", arrived.OutOfOrder))
	}
	for system, held := range map[string]map[string]int64{
		"api": w.api.Versions(), "database": w.inDatabase(), "warehouse": w.inWarehouse(),
	} {
		wrong := 0
		for k, v := range want {
			if held[k] != v {
				wrong++
			}
		}
		if wrong > 0 || len(held) != len(want) {
			findings = append(findings, fmt.Sprintf("%s: %d policies, %d of them not at version %d", system, len(held), wrong, last))
		}
	}
	return findings
}

// inDatabase returns the version of each policy in PostgreSQL.
func (w *world) inDatabase() map[string]int64 {
	w.t.Helper()
	db, err := sql.Open("pgx", address(w.t, "POSTGRES"))
	require.NoError(w.t, err)
	defer db.Close()
	rows, err := db.QueryContext(w.t.Context(), "SELECT id, version FROM policies_"+w.id())
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42P01" {
		return nil // not even the table, which the first push makes
	}
	require.NoError(w.t, err)
	defer rows.Close()
	held := map[string]int64{}
	for rows.Next() {
		var k string
		var v int64
		require.NoError(w.t, rows.Scan(&k, &v))
		held[k] = v
	}
	require.NoError(w.t, rows.Err())
	return held
}

// inWarehouse returns the newest version of each policy in ClickHouse's view.
func (w *world) inWarehouse() map[string]int64 {
	w.t.Helper()
	conn := clickHouse(w.t)
	defer conn.Close()
	rows, err := conn.Query(context.Background(), "SELECT _key, _version FROM history_"+w.id()+"_latest")
	if e, ok := errors.AsType[*clickhouse.Exception](err); ok && e.Code == 60 {
		return nil // unknown table: as above
	}
	require.NoError(w.t, err)
	defer rows.Close()
	held := map[string]int64{}
	for rows.Next() {
		var k string
		var v *int64
		require.NoError(w.t, rows.Scan(&k, &v))
		if v != nil {
			held[k] = *v
		}
	}
	require.NoError(w.t, rows.Err())
	return held
}

func clickHouse(t *testing.T) clickhouse.Conn {
	t.Helper()
	options, err := clickhouse.ParseDSN(address(t, "CLICKHOUSE"))
	require.NoError(t, err)
	conn, err := clickhouse.Open(options)
	require.NoError(t, err)
	return conn
}
