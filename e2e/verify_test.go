//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const verified = `
  database_@id:
    connector: sql
    dsn: "${POLICYSYNC_E2E_POSTGRES}"
    schema: create
    timeout: 4s
    tables:
      policies_@id: {key: [id], version_column: version, map: {id: key, name: event.payload.name, at: event.occurredAt, rules: event.payload.rules}}
  mariadb_@id:
    connector: sql
    dsn: "${POLICYSYNC_E2E_MYSQL}"
    schema: create
    timeout: 4s
    tables:
      policies_@id: {key: [id], version_column: version, map: {id: key, name: event.payload.name, at: event.occurredAt, rules: event.payload.rules}}
  warehouse: {connector: warehouse, dsn: "${POLICYSYNC_E2E_CLICKHOUSE}", table: history_@id, timeout: 4s, batch: {size: 500, linger: 100ms}, map: {name: event.payload.name, at: event.occurredAt, rules: event.payload.rules}}
`

// verify runs `policysync verify --json` and returns the differences as kind and key
// or name, sorted, and how many were mended and are left.
func (w *world) verify(target string, args ...string) (found []string, repaired, left int) {
	w.t.Helper()
	c := exec.CommandContext(w.t.Context(), filepath.Join(bin, "policysync"),
		append([]string{"verify", "-c", w.file, "--target", target, "--json"}, args...)...)
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var sum struct{ Keys, Pending, Repaired, Left int }
	require.NoError(w.t, json.Unmarshal([]byte(lines[len(lines)-1]), &sum), "%s%s", out, stderr.String())
	require.Equal(w.t, sum.Left > 0, err != nil, "the exit code tells: %v %s", err, stderr.String())
	require.Zero(w.t, sum.Pending)
	for _, text := range lines[:len(lines)-1] {
		var d struct{ Difference, Key, Name string }
		require.NoError(w.t, json.Unmarshal([]byte(text), &d))
		found = append(found, d.Difference+" "+d.Key+d.Name)
	}
	slices.Sort(found)
	return found, sum.Repaired, sum.Left
}

// Rows are changed, deleted and added by hand in PostgreSQL, MariaDB and ClickHouse:
// verify finds exactly those, and its repair mends exactly those that the source knows.
func TestVerifyFindsAndRepairsWhatWasChangedByHand(t *testing.T) {
	const policies, versions = 3000, 3
	w := newWorld(t, 4)
	w.configure(verified)
	w.publish(policies, 1, versions)
	w.start()
	w.settles(2 * time.Minute)
	began := time.Now()
	for _, target := range []string{"database_" + w.id(), "mariadb_" + w.id(), "warehouse"} {
		found, _, _ := w.verify(target)
		require.Empty(t, found, target)
	}
	t.Logf("%d policies of %d versions compared with three targets in %s", policies, versions, time.Since(began))

	table, history := "policies_"+w.id(), "history_"+w.id()
	exec := func(driver, name, dsn string, statements ...string) {
		db := open(t, driver, dsn)
		for _, s := range statements {
			_, err := db.ExecContext(t.Context(), s)
			require.NoError(t, err, name)
		}
	}
	byHand := []string{
		fmt.Sprintf("UPDATE %s SET name = 'by hand' WHERE id = '%s'", table, key(1)),
		fmt.Sprintf("DELETE FROM %s WHERE id = '%s'", table, key(2)),
		fmt.Sprintf("INSERT INTO %s (id, name) VALUES ('X-1', 'x')", table),
	}
	exec("pgx", "PostgreSQL", address(t, "POSTGRES"), byHand...)
	exec("mysql", "MariaDB", w.mariadb(), byHand...)
	columns := "_key, _version, _deleted, _topic, _topic_id, _partition, _offset, _event_time, _delivery_id, name, at, rules, _ingested_at"
	insert := func(as, from string) string {
		return fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s_latest WHERE _key = '%s'", history, columns, as, history, from)
	}
	exec("clickhouse", "ClickHouse", address(t, "CLICKHOUSE"),
		insert(strings.NewReplacer("name", "'by hand'", "_ingested_at", "_ingested_at + 1").Replace(columns), key(1)),
		insert(strings.Replace(columns, "_key", "'X-1'", 1), key(3)),
		fmt.Sprintf("ALTER TABLE %s DELETE WHERE _key = '%s'", history, key(2)))
	warehouse := open(t, "clickhouse", address(t, "CLICKHOUSE"))
	w.eventually("the deletion is done", time.Minute, func() bool {
		return len(pairs(t, warehouse, fmt.Sprintf("SELECT _key, name FROM %s WHERE _key = '%s'", history, key(2)))) == 0
	})

	for target, extra := range map[string]string{
		"database_" + w.id(): table + ` "X-1"`, "mariadb_" + w.id(): table + ` "X-1"`, "warehouse": "X-1",
	} {
		want := []string{"different " + key(1), "extra " + extra, "missing " + key(2)}
		found, repaired, left := w.verify(target)
		require.Equal(t, want, found, target)
		require.Equal(t, []int{0, 3}, []int{repaired, left}, target)
		found, repaired, left = w.verify(target, "--repair")
		require.Equal(t, want, found, target)
		require.Equal(t, []int{2, 1}, []int{repaired, left}, target)
		found, _, _ = w.verify(target)
		require.Equal(t, []string{"extra " + extra}, found, "%s: the rest is mended, and what only the target knows stays", target)
	}
}
