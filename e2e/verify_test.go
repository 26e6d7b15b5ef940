//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
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

// ruleAPI keeps what is put under a path, as many APIs do.
type ruleAPI struct {
	mu    sync.Mutex // guards rules: requests and the test share them
	rules map[string]map[string]any
}

func (a *ruleAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	held, known := a.rules[path.Base(r.URL.Path)]
	switch {
	case r.Method == http.MethodPut:
		rule := map[string]any{}
		_ = json.NewDecoder(r.Body).Decode(&rule)
		a.rules[path.Base(r.URL.Path)] = rule
	case !known:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodDelete:
		delete(a.rules, path.Base(r.URL.Path))
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"rule": held, "links": []string{"self"}})
	}
}

// A calendar and an API are changed by hand: verify finds exactly that, by asking for
// each policy, and its repair mends what the source knows.
func TestVerifyAsksCalendarsAndAPIs(t *testing.T) {
	const policies = 60
	w := newWorld(t, 2)
	api := &ruleAPI{rules: map[string]map[string]any{}}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	c := newCalendar(t)
	u, err := url.Parse(c.withAccount)
	require.NoError(t, err)
	password, _ := u.User.Password()
	w.configure(strings.NewReplacer("@rules", server.URL, "@calendar", c.url, "@user", u.User.Username(), "@password", password).Replace(`
  api:
    connector: http
    timeout: 4s
    update: {method: PUT, url: "@rules/rules/{key}"}
    delete: {method: DELETE, url: "@rules/rules/{key}"}
    map: {name: event.payload.name, version: event.version, rules: event.payload.rules}
    read: {url: "@rules/rules/{key}", document: response.rule, version: response.rule.version}
  calendar:
    connector: caldav
    timeout: 4s
    url: @calendar
    auth: {basic: {username: "@user", password: "@password"}}
    map: {summary: event.payload.name, start: event.payload.effectiveFrom, rrule: '"FREQ=WEEKLY;BYDAY=SA"', description: 'event.payload.rules.map(r, r.text).join("; ")'}
`))
	w.publish(policies, 1, 2)
	w.start()
	w.settles(time.Minute)
	for _, target := range []string{"api", "calendar"} {
		found, _, _ := w.verify(target)
		require.Empty(t, found, target)
	}

	api.mu.Lock()
	api.rules[key(1)]["name"] = "by hand"
	delete(api.rules, key(2))
	api.rules[key(3)]["version"] = 1
	api.mu.Unlock()
	call := func(method, key string, change func(string) string) {
		at := c.withAccount + uuid.NewSHA1(uuid.MustParse("5a0f2d38-6a0e-4f0a-9b55-0d6f4a5f3c11"), []byte(key)).String() + ".ics"
		var body string
		if change != nil {
			resp, err := (&http.Client{}).Get(at)
			require.NoError(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			body = change(string(text))
		}
		req, err := http.NewRequest(method, at, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "text/calendar; charset=utf-8")
		resp, err := (&http.Client{}).Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Less(t, resp.StatusCode, 300)
	}
	call(http.MethodPut, key(1), func(text string) string { return strings.Replace(text, "Weekend", "Weekday", 1) })
	call(http.MethodDelete, key(2), nil)
	call(http.MethodPut, key(3), func(text string) string {
		return regexp.MustCompile(`(POLICYSYNC-VERSION[^:]*:)2`).ReplaceAllString(text, "${1}1")
	})

	want := []string{"different " + key(1), "missing " + key(2), "stale " + key(3)}
	for target, flags := range map[string][]string{"api": {"--repair", "--allow-old-versions"}, "calendar": {"--repair"}} {
		found, repaired, left := w.verify(target, flags...)
		require.Equal(t, want, found, target)
		require.Equal(t, []int{3, 0}, []int{repaired, left}, target)
		found, _, _ = w.verify(target)
		require.Empty(t, found, target)
	}
	out, err := exec.Command(filepath.Join(bin, "policysync"), "verify", "-c", w.file, "--target", "api", "--repair").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "--allow-old-versions", "an API is not known to refuse older versions")
}
