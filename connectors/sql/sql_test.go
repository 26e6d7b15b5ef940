package sql

import (
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
	"github.com/hms-sme/policysync/pkg/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program stands for a compiled expression.
type program func(s connector.Scope) (any, error)

func (p program) Eval(s connector.Scope) (any, error) { return p(s) }

// path returns a tree whose expression is a path of fields below the event or
// below a local, or the key; t is its static type.
func path(source string, t event.Kind) *connector.Tree {
	root, fields, _ := strings.Cut(source, ".")
	e := &connector.Expr{Source: source, Place: connector.Place{Path: source}, UsesEvent: root == "event"}
	if t != "" {
		e.Type = &event.Type{Kind: t}
	}
	e.Program = program(func(s connector.Scope) (any, error) {
		var v any
		switch {
		case root == "key":
			return s.Event.Key, nil
		case root == "event" && s.Event.Value != nil:
			v = s.Event.Value
		case s.Locals[root] != nil:
			v = s.Locals[root]
		default:
			return nil, fmt.Errorf("no such value: %q", root)
		}
		for field := range strings.SplitSeq(fields, ".") {
			v, _ = v.(*event.Object).Get(field)
		}
		return v, nil
	})
	return &connector.Tree{Expr: e}
}

// columns makes a map of names and trees.
func columns(pairs ...any) *connector.Tree {
	t := &connector.Tree{}
	for i := 0; i < len(pairs); i += 2 {
		t.Fields = append(t.Fields, connector.Branch{Name: pairs[i].(string), Tree: pairs[i+1].(*connector.Tree)})
	}
	return t
}

// policies is the table of the tests that need only one.
func policies() connector.Named[Table] {
	return connector.Named[Table]{Name: "policies", Value: Table{
		Key: []string{"id"}, VersionColumn: "version",
		Map: columns("id", path("event.id", event.String), "title", path("event.title", event.String)),
	}}
}

// rules is a table with a row per item.
func rules(name string, replace bool) connector.Named[Table] {
	return connector.Named[Table]{Name: name, Value: Table{
		Key: []string{"policy_id", "no"}, Each: path("event.rules", event.Array).Expr, As: "rule", Replace: replace,
		Map: columns("policy_id", path("event.id", event.String), "no", path("rule.no", event.Long), "text", path("rule.text", event.String)),
	}}
}

func newConnector(tb testing.TB, cfg Config) *Connector {
	tb.Helper()
	require.Empty(tb, cfg.Validate())
	c, err := New(tb.Context(), &cfg, connector.Env{
		Target: "legacy", Logger: slog.New(slog.DiscardHandler), Timeout: 10 * time.Second, Concurrency: 4, BatchSize: 100,
	})
	require.NoError(tb, err)
	return c.(*Connector)
}

// database makes an empty SQLite database; its parameters make a wait for a lock
// as long as the test wants, and a commit quick.
func database(tb testing.TB, busyTimeout time.Duration) (connector.Secret, *sql.DB) {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "legacy.db")
	db, err := sql.Open("sqlite", "file:"+file)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, db.Close()) })
	dsn := fmt.Sprintf("sqlite://%s?_pragma=busy_timeout(%d)&_pragma=synchronous(off)", file, busyTimeout.Milliseconds())
	return connector.NewSecret(dsn), db
}

func exec(tb testing.TB, db *sql.DB, statements ...string) {
	tb.Helper()
	for _, s := range statements {
		_, err := db.Exec(s)
		require.NoError(tb, err, "%s", s)
	}
}

// dump returns the rows of a query as text.
func dump(tb testing.TB, db *sql.DB, query string) []string {
	tb.Helper()
	rows, err := db.Query(query)
	require.NoError(tb, err)
	defer rows.Close()
	names, err := rows.Columns()
	require.NoError(tb, err)
	var lines []string
	for rows.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		require.NoError(tb, rows.Scan(into...))
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				values[i] = string(b)
			}
		}
		lines = append(lines, strings.TrimSuffix(fmt.Sprintln(values...), "\n"))
	}
	require.NoError(tb, rows.Err())
	return lines
}

// change is a record of the tests.
type change struct {
	key       string
	version   int64
	partition int32
	offset    int64
	deleted   bool
	byOffset  bool
	fields    *event.Object
}

func (c change) delivery() *connector.Delivery {
	e := &event.Event{
		Record: &event.Record{
			Position:  event.Position{Topic: "policies", TopicID: event.TopicID{7}, Partition: c.partition, Offset: c.offset},
			Timestamp: time.Unix(c.offset, 0),
		},
		Key: c.key, HasKey: true,
	}
	d := &connector.Delivery{
		ID: fmt.Sprintf("policies-%d-%d", c.partition, c.offset), Target: "legacy", Key: c.key, Op: connector.Delete, Event: e, Attempt: 1,
	}
	if !c.deleted {
		e.Record.Value, e.Value, d.Op = []byte{0}, c.fields, connector.Upsert
		d.Version = connector.Version{Value: c.version, Known: true}
	}
	if c.byOffset {
		d.Version = connector.Version{Value: c.offset, Known: true, ByOffset: true}
	}
	return d
}

func prepared(t require.TestingT, c *Connector, ch change) *connector.Delivery {
	d := ch.delivery()
	require.NoError(t, c.Prepare(d))
	return d
}

func object(pairs ...any) *event.Object {
	o := &event.Object{}
	for i := 0; i < len(pairs); i += 2 {
		o.Add(pairs[i].(string), pairs[i+1])
	}
	return o
}

func readPolicies(t *testing.T, db *sql.DB) map[string]connectortest.Record {
	t.Helper()
	held := map[string]connectortest.Record{}
	rows, err := db.Query(`SELECT id, title, version FROM policies`)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var id string
		var r connectortest.Record
		require.NoError(t, rows.Scan(&id, &r.Title, &r.Version))
		held[id] = r
	}
	require.NoError(t, rows.Err())
	return held
}

func TestConformance(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{
		Guarded: true, RefusesBadTitle: true,
		New: func(t *testing.T) connectortest.System {
			t.Helper()
			dsn, db := database(t, time.Minute)
			exec(t, db, `CREATE TABLE policies (id TEXT PRIMARY KEY, title TEXT CHECK (title <> '`+connectortest.BadTitle+`'), version INTEGER)`)
			return connectortest.System{
				Connector: newConnector(t, Config{DSN: dsn, Tables: []connector.Named[Table]{policies()}}),
				Applied: func(t *testing.T) map[string]connectortest.Record {
					t.Helper()
					return readPolicies(t, db)
				},
				Fail: map[connector.Class]func(*testing.T) func(){
					connector.Unavailable: func(t *testing.T) func() {
						t.Helper()
						exec(t, db, `ALTER TABLE policies RENAME TO hidden`)
						return func() { exec(t, db, `ALTER TABLE hidden RENAME TO policies`) }
					},
					connector.Permanent: func(t *testing.T) func() {
						t.Helper()
						exec(t, db, `CREATE TRIGGER refuse BEFORE INSERT ON policies BEGIN SELECT RAISE(ABORT, 'closed'); END`)
						return func() { exec(t, db, `DROP TRIGGER refuse`) }
					},
				},
				Stall: func(t *testing.T) <-chan struct{} {
					t.Helper()
					lock(t, db)
					arrived := make(chan struct{})
					close(arrived)
					return arrived
				},
			}
		},
	})
}

// lock takes the whole database until the test ends.
func lock(tb testing.TB, db *sql.DB) {
	tb.Helper()
	conn, err := db.Conn(tb.Context())
	require.NoError(tb, err)
	_, err = conn.ExecContext(tb.Context(), `BEGIN EXCLUSIVE`)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, conn.Close()) })
}

func TestLockIsTransient(t *testing.T) {
	t.Parallel()
	dsn, db := database(t, time.Millisecond)
	c := newConnector(t, Config{DSN: dsn, Tables: []connector.Named[Table]{policies()}, Schema: schemaCreate})
	t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
	d := prepared(t, c, change{key: "a", version: 1, fields: object("id", "a", "title", "A")})
	_, err := c.Push(t.Context(), d)
	require.NoError(t, err)
	lock(t, db)
	_, err = c.Push(t.Context(), d)
	require.Equal(t, connector.Transient, connector.Classify(err), "class of: %v", err)
}

func TestDeadDatabaseStopsNothing(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://app:hunter2@127.0.0.1:1/app", "mysql://app:hunter2@127.0.0.1:1/app", "sqlite:///nowhere/to/be/found.db",
	} {
		c := newConnector(t, Config{DSN: connector.NewSecret(dsn), Tables: []connector.Named[Table]{policies()}})
		_, err := c.Push(t.Context(), prepared(t, c, change{key: "a", version: 1, fields: object("id", "a", "title", "A")}))
		require.Equal(t, connector.Unavailable, connector.Classify(err), "class of: %v", err)
		require.NotContains(t, err.Error(), "hunter2")
		require.Error(t, c.Check(t.Context()))
		require.NoError(t, c.Close(t.Context()))
	}
}

func TestDSNIsRefusedWithoutQuotingIt(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://app:hunter2:x@db:bad/app", "mysql://app:hunter2@db/", "mysql://app:hunter2@db/app?tls=hunter2", "sqlite://",
		"oracle://app:hunter2@db/app", "hunter2", "postgres://app:hunter2@db/app?sslmode=hunter2", "sqlite://a.db?%zz=hunter2",
	} {
		cfg := Config{DSN: connector.NewSecret(dsn), Tables: []connector.Named[Table]{policies()}}
		_, err := New(t.Context(), &cfg, connector.Env{})
		require.ErrorIs(t, err, errDSN, dsn)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

// A row that goes is marked with the time of the record that deletes it, once, and
// comes back unmarked.
func TestDeletedColumn(t *testing.T) {
	t.Parallel()
	dsn, db := database(t, 0)
	policy, rule := policies(), rules("policy_rules", true)
	policy.Value.DeletedColumn, rule.Value.DeletedColumn = "deleted_at", "gone"
	c := newConnector(t, Config{DSN: dsn, Schema: schemaCreate, Tables: []connector.Named[Table]{policy, rule}})
	t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
	list := func(n int64) []any {
		var l []any
		for no := range n {
			l = append(l, object("no", no, "text", "t"))
		}
		return l
	}
	push := func(offset int64, rules int64) {
		t.Helper()
		ch := change{key: "a", version: offset, offset: offset, deleted: rules < 0}
		if !ch.deleted {
			ch.fields = object("id", "a", "title", "t", "rules", list(rules))
		}
		_, err := c.Push(t.Context(), prepared(t, c, ch))
		require.NoError(t, err)
	}
	want := func(policy string, rules ...string) {
		t.Helper()
		require.Equal(t, []string{policy}, dump(t, db, `SELECT id, deleted_at FROM policies`))
		require.Equal(t, rules, dump(t, db, `SELECT no, gone FROM policy_rules ORDER BY no`))
	}
	push(1, 3)
	want("a <nil>", "0 <nil>", "1 <nil>", "2 <nil>")
	push(2, 1)
	want("a <nil>", "0 <nil>", "1 1970-01-01T00:00:02Z", "2 1970-01-01T00:00:02Z")
	push(3, -1)
	want("a 1970-01-01T00:00:03Z", "0 1970-01-01T00:00:03Z", "1 1970-01-01T00:00:02Z", "2 1970-01-01T00:00:02Z")
	push(4, 2)
	want("a <nil>", "0 <nil>", "1 <nil>", "2 1970-01-01T00:00:02Z")
}

// An event that a table is not for leaves its rows alone, and what is known of
// them, so that a tombstone still finds them.
func TestWhen(t *testing.T) {
	t.Parallel()
	dsn, db := database(t, 0)
	visits := rules("visits", true)
	visits.Value.When = path("event.visited", event.Boolean).Expr
	c := newConnector(t, Config{DSN: dsn, Schema: schemaCreate, Tables: []connector.Named[Table]{policies(), visits}})
	t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
	for i, visited := range []bool{true, false} {
		_, err := c.Push(t.Context(), prepared(t, c, change{key: "a", version: int64(i), offset: int64(i), fields: object(
			"id", "a", "title", fmt.Sprint(i), "visited", visited, "rules", []any{object("no", int64(i), "text", "t")},
		)}))
		require.NoError(t, err)
	}
	require.Equal(t, []string{"a 1"}, dump(t, db, `SELECT id, title FROM policies`))
	require.Equal(t, []string{"0"}, dump(t, db, `SELECT no FROM visits`))
	_, err := c.Push(t.Context(), prepared(t, c, change{key: "a", offset: 2, deleted: true}))
	require.NoError(t, err)
	require.Empty(t, dump(t, db, `SELECT no FROM visits`))
}
