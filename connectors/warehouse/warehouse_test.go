package warehouse

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
	"github.com/hms-sme/policysync/pkg/event"
)

// field is an expression that reads one field of the event.
type field string

func (f field) Eval(s connector.Scope) (any, error) {
	v, ok := s.Event.Value.Get(string(f))
	if !ok {
		return nil, fmt.Errorf("no field %q", string(f))
	}
	return v, nil
}

func leaf(name string, t *event.Type) *connector.Tree {
	return &connector.Tree{Expr: &connector.Expr{Source: "event." + name, Program: field(name), Type: t}}
}

// recordColumns maps the events of connectortest.
func recordColumns() *connector.Tree {
	return &connector.Tree{Fields: []connector.Branch{
		{Name: "title", Tree: leaf("title", &event.Type{Kind: event.String})},
		{Name: "version", Tree: leaf("version", &event.Type{Kind: event.Long})},
	}}
}

func newWarehouse(t *testing.T, cfg *Config) *Warehouse {
	t.Helper()
	w, err := New(cfg, connector.Env{Target: "dataWarehouse", Timeout: 5 * time.Second, Concurrency: 4})
	require.NoError(t, err)
	return w
}

func closeAfter(t *testing.T, w *Warehouse) *Warehouse {
	t.Cleanup(func() { require.NoError(t, w.Close(context.WithoutCancel(t.Context()))) })
	return w
}

func openFile(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func TestSQLiteConformance(t *testing.T) {
	const refusing = `CREATE TABLE data_warehouse (_key TEXT, _version INTEGER, _deleted INTEGER, _topic TEXT,
		_topic_id TEXT, _partition INTEGER, _offset INTEGER, _event_time TEXT, _delivery_id TEXT, title TEXT
		CHECK (title <> '` + connectortest.BadTitle + `'), version INTEGER, _ingested_at TEXT,
		PRIMARY KEY (_key, _topic_id, _partition, _offset))`
	connectortest.Run(t, connectortest.Harness{
		RefusesBadTitle: true,
		New: func(t *testing.T) connectortest.System {
			path := filepath.Join(t.TempDir(), "history 100%.db")
			db := openFile(t, path)
			_, err := db.ExecContext(t.Context(), refusing)
			require.NoError(t, err)
			rename := func(from, to string) {
				_, err := db.ExecContext(t.Context(), "ALTER TABLE "+from+" RENAME TO "+to)
				require.NoError(t, err)
			}
			w := newWarehouse(t, &Config{DSN: connector.NewSecret("sqlite://" + path), Map: recordColumns()})
			return connectortest.System{
				Connector: w,
				Applied: func(t *testing.T) map[string]connectortest.Record {
					require.NoError(t, (&database{db: db, classify: classifySQLite, typeOf: sqliteType}).create(t.Context(), w.table))
					return latest(t, db)
				},
				Fail: map[connector.Class]func(*testing.T) func(){
					connector.Unavailable: func(*testing.T) func() {
						_, err := db.ExecContext(t.Context(), "DROP VIEW IF EXISTS data_warehouse_latest")
						require.NoError(t, err)
						rename("data_warehouse", "elsewhere")
						return func() { rename("elsewhere", "data_warehouse") }
					},
					connector.Transient: func(t *testing.T) func() {
						lock, err := db.Conn(t.Context())
						require.NoError(t, err)
						_, err = lock.ExecContext(t.Context(), "BEGIN IMMEDIATE")
						require.NoError(t, err)
						return func() {
							_, err := lock.ExecContext(t.Context(), "ROLLBACK")
							require.NoError(t, err)
							require.NoError(t, lock.Close())
						}
					},
				},
			}
		},
	})
}

// SQLite needs no type for a column: such a one is there all the same.
func TestSQLiteColumnsWithoutType(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.db")
	_, err := openFile(t, path).ExecContext(t.Context(), `CREATE TABLE data_warehouse (_key, _version, _deleted, _topic, _topic_id, _partition,
		_offset, _event_time, _delivery_id, title, version, _ingested_at, PRIMARY KEY (_key, _topic_id, _partition, _offset))`)
	require.NoError(t, err)
	policy := &event.Object{Names: []string{"title", "version"}, Values: []any{"a", int64(1)}}
	pushInto(t, path, recordColumns(), policy)
	found, names := compare(t, path, recordColumns(), policy)
	require.Empty(t, found.Difference)
	require.Equal(t, []string{"P-1"}, names)
}

// latest reads the view of the newest versions by SQL alone.
func latest(t *testing.T, db *sql.DB) map[string]connectortest.Record {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT _key, title, version FROM data_warehouse_latest")
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	held := map[string]connectortest.Record{}
	for rows.Next() {
		var key string
		var r connectortest.Record
		require.NoError(t, rows.Scan(&key, &r.Title, &r.Version))
		require.NotContains(t, held, key, "a key is in the view once")
		held[key] = r
	}
	require.NoError(t, rows.Err())
	return held
}

// upsert makes a delivery of a record with every kind of value.
func upsert(value *event.Object) *connector.Delivery {
	return &connector.Delivery{
		ID: "delivery 7", Key: "P-1", Op: connector.Upsert, Version: connector.Version{Value: 3, Known: true},
		Event: &event.Event{
			Record: &event.Record{
				Position: event.Position{Topic: "policies", TopicID: event.TopicID{15: 1}, Partition: 2, Offset: 7},
				Value:    []byte{0}, Timestamp: time.UnixMicro(1_750_000_000_123_000).UTC(),
			},
			Value: value,
		},
	}
}

func TestRow(t *testing.T) {
	t.Parallel()
	value := &event.Object{Names: []string{"title", "version"}, Values: []any{"Weekend Inspections", int64(3)}}
	deleted := upsert(nil)
	deleted.Op, deleted.Version, deleted.Event.Record.Value = connector.Delete, connector.Version{}, nil
	byOffset := upsert(value)
	byOffset.Version = connector.Version{Value: 7, Known: true, ByOffset: true}
	const standard = `"_topic":"policies","_topic_id":"00000000-0000-0000-0000-000000000001","_partition":2,` +
		`"_offset":7,"_event_time":"2025-06-15T15:06:40.123Z","_delivery_id":"delivery 7",`
	for name, c := range map[string]struct {
		columns *connector.Tree
		d       *connector.Delivery
		want    string
	}{
		"mapped": {
			recordColumns(), upsert(value),
			`{"_key":"P-1","_version":3,"_deleted":false,` + standard + `"title":"Weekend Inspections","version":3}`,
		},
		"whole event": {
			nil, upsert(value),
			`{"_key":"P-1","_version":3,"_deleted":false,` + standard +
				`"document":"{\"title\":\"Weekend Inspections\",\"version\":3}"}`,
		},
		"an offset is no version": {
			recordColumns(), byOffset,
			`{"_key":"P-1","_version":null,"_deleted":false,` + standard + `"title":"Weekend Inspections","version":3}`,
		},
		"tombstone": {
			recordColumns(), deleted,
			`{"_key":"P-1","_version":null,"_deleted":true,` + standard + `"title":null,"version":null}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := closeAfter(t, newWarehouse(t, &Config{DSN: connector.NewSecret("sqlite://:memory:"), Map: c.columns}))
			require.NoError(t, w.Prepare(c.d))
			got, err := event.AppendJSON(nil, c.d.Document)
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
		})
	}
}

func TestTableThatLacksAColumnHoldsTheTarget(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.db")
	db := openFile(t, path)
	cfg := &Config{DSN: connector.NewSecret("sqlite://" + path), Map: recordColumns()}
	w := closeAfter(t, newWarehouse(t, cfg))
	d := upsert(&event.Object{Names: []string{"title", "version"}, Values: []any{"a", int64(1)}})
	require.NoError(t, w.Prepare(d))
	for _, c := range []struct{ prepare, want string }{
		{"SELECT 1", `no table "data_warehouse"`},
		{"CREATE TABLE data_warehouse (_key TEXT, title TEXT)", `table "data_warehouse" lacks the columns _version, _deleted, ` +
			`_topic, _topic_id, _partition, _offset, _event_time, _delivery_id, version, _ingested_at`},
	} {
		_, err := db.ExecContext(t.Context(), c.prepare)
		require.NoError(t, err)
		_, err = w.Push(t.Context(), d)
		require.ErrorContains(t, err, c.want)
		require.Equal(t, connector.Unavailable, connector.Classify(err))
		require.EqualError(t, w.Check(t.Context()), "check data_warehouse: "+c.want)
	}
	_, err := db.ExecContext(t.Context(), "DROP TABLE data_warehouse")
	require.NoError(t, err)
	cfg.Schema = schemaCreate
	require.NoError(t, w.Check(t.Context()), "the first delivery makes the table")
	_, err = w.Push(t.Context(), d)
	require.NoError(t, err)
}

// A field that the map has now and the table has not is proposed, or added, and the
// view has it too.
func TestSchemaEvolves(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.db")
	push := func(schema string, columns *connector.Tree) error {
		w := newWarehouse(t, &Config{DSN: connector.NewSecret("sqlite://" + path), Map: columns, Schema: schema})
		defer w.Close(t.Context())
		d := upsert(&event.Object{Names: []string{"title", "version"}, Values: []any{"a", int64(1)}})
		require.NoError(t, w.Prepare(d))
		checked := w.Check(t.Context())
		_, err := w.Push(t.Context(), d)
		require.Equal(t, checked == nil, err == nil, "the check foretells the push")
		return err
	}
	old := &connector.Tree{Fields: recordColumns().Fields[:1]}
	require.NoError(t, push(schemaCreate, old))
	for _, schema := range []string{schemaCheck, schemaCreate} {
		err := push(schema, recordColumns())
		require.ErrorContains(t, err, "table \"data_warehouse\" lacks the columns version: ALTER TABLE \"data_warehouse\" ADD COLUMN \"version\" INTEGER; DROP VIEW")
		require.Equal(t, connector.Unavailable, connector.Classify(err))
	}
	require.NoError(t, push(schemaEvolve, recordColumns()))
	require.Equal(t, map[string]connectortest.Record{"P-1": {Title: "a", Version: 1}}, latest(t, openFile(t, path)))
}

func TestDSNMayChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "dsn")
	w := (*Warehouse)(nil)
	for i, name := range []string{"first.db", "second-of-all.db"} {
		path := filepath.Join(dir, name)
		writeFile(t, secret, "sqlite://"+path)
		if w == nil {
			w = closeAfter(t, newWarehouse(t, &Config{DSN: connector.SecretFile(secret), Map: recordColumns(), Schema: schemaCreate}))
		}
		d := upsert(&event.Object{Names: []string{"title", "version"}, Values: []any{name, int64(i)}})
		require.NoError(t, w.Prepare(d))
		_, err := w.Push(t.Context(), d)
		require.NoError(t, err)
		want := map[string]connectortest.Record{"P-1": {Title: name, Version: int64(i)}}
		require.Empty(t, cmp.Diff(want, latest(t, openFile(t, path))))
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}
