package warehouse

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// compare compares a policy with what a file holds, and returns the names in it. It
// demands that the file's schema stays as it is.
func compare(t *testing.T, path string, columns *connector.Tree, value *event.Object) (connector.Comparison, []string) {
	t.Helper()
	w := closeAfter(t, newWarehouse(t, &Config{DSN: connector.NewSecret("sqlite://" + path), Map: columns, Schema: schemaEvolve}))
	before := schemaOf(t, path)
	d := upsert(value)
	require.NoError(t, w.Prepare(d))
	found, err := w.Compare(t.Context(), []*connector.Delivery{d})
	require.NoError(t, err)
	var names []string
	require.NoError(t, w.Names(t.Context(), func(name string) error {
		names = append(names, name)
		return nil
	}))
	require.Equal(t, before, schemaOf(t, path))
	return found[0], names
}

func schemaOf(t *testing.T, path string) (schema string) {
	t.Helper()
	require.NoError(t, openFile(t, path).QueryRowContext(t.Context(), "SELECT coalesce(group_concat(sql), '') FROM sqlite_schema").Scan(&schema))
	return schema
}

func pushInto(t *testing.T, path string, columns *connector.Tree, value *event.Object) {
	t.Helper()
	w := closeAfter(t, newWarehouse(t, &Config{DSN: connector.NewSecret("sqlite://" + path), Map: columns, Schema: schemaEvolve}))
	d := upsert(value)
	require.NoError(t, w.Prepare(d))
	_, err := w.Push(t.Context(), d)
	require.NoError(t, err)
}

// What the first delivery would make or add is compared as what is not there.
func TestCompareChangesNoSchema(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.db")
	policy := &event.Object{Names: []string{"title", "version"}, Values: []any{"a", int64(1)}}
	found, names := compare(t, path, recordColumns(), policy)
	require.Equal(t, connector.Missing, found.Difference, "there is no table")
	require.Empty(t, names)

	pushInto(t, path, &connector.Tree{Fields: recordColumns().Fields[:1]}, policy)
	found, names = compare(t, path, recordColumns(), policy)
	require.Equal(t, []connector.FieldDifference{{Field: "version", Want: "1", Have: "null"}}, found.Fields, "there is no column")
	require.Equal(t, []string{"P-1"}, names)
}

func TestNullIsNotItsName(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.db")
	null := &event.Object{Names: []string{"title", "version"}, Values: []any{nil, int64(1)}}
	text := &event.Object{Names: null.Names, Values: []any{"null", int64(1)}}
	pushInto(t, path, recordColumns(), null)
	found, _ := compare(t, path, recordColumns(), null)
	require.Empty(t, found.Difference)
	found, _ = compare(t, path, recordColumns(), text)
	require.Equal(t, connector.Different, found.Difference)
}

// modern is SQLite whose table has the time of ingestion as ClickHouse of version 22 and later has it.
type modern struct{ engine }

const modernTime = "DateTime64(6, 'UTC')"

func (m modern) columns(ctx context.Context, name string) (map[string]string, error) {
	types, err := m.engine.columns(ctx, name)
	if types["_ingested_at"] != "" {
		types["_ingested_at"] = modernTime
	}
	return types, err
}

func (m modern) fitter(columnType string) fitter {
	if columnType == modernTime {
		return (*clickHouse)(nil).fitter(columnType)
	}
	return m.engine.fitter(columnType)
}

func TestCompareWithATimeThatHasABeginning(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.db")
	policy := &event.Object{Names: []string{"title", "version"}, Values: []any{"a", int64(1)}}
	pushInto(t, path, recordColumns(), policy)
	w := closeAfter(t, newWarehouse(t, &Config{DSN: connector.NewSecret("sqlite://" + path), Map: recordColumns()}))
	file, err := openSQLite(path)
	require.NoError(t, err)
	w.engine, w.dsn = modern{file}, "sqlite://"+path
	d := upsert(policy)
	require.NoError(t, w.Prepare(d))
	found, err := w.Compare(t.Context(), []*connector.Delivery{d})
	require.NoError(t, err)
	require.Equal(t, []connector.Comparison{{Names: []string{"P-1"}}}, found)
}

// ClickHouse's driver gives a date as midnight in the server's zone.
func TestCompareDatesOfAServerEastOfUTC(t *testing.T) {
	t.Parallel()
	day := event.Date(20_000)
	for _, columnType := range []string{"Date", "Nullable(Date32)"} {
		want, err := fitterOf((*clickHouse)(nil), columnType)(day)
		require.NoError(t, err)
		year, month, date := day.Time().Date()
		have := time.Date(year, month, date, 0, 0, 0, 0, time.FixedZone("Europe/Berlin", 60*60))
		require.Equal(t, "2024-10-04", plain(want, columnType))
		require.Equal(t, "2024-10-04", plain(&have, columnType))
	}
}

// brittle is an engine whose driver panics.
type brittle struct{ engine }

func (brittle) insert(context.Context, *table, [][]any) error { panic("index out of range") }

func TestPanicBelowTheConnectorIsItsError(t *testing.T) {
	t.Parallel()
	w := closeAfter(t, newWarehouse(t, &Config{
		DSN: connector.NewSecret("sqlite://" + filepath.Join(t.TempDir(), "history.db")), Map: recordColumns(), Schema: schemaCreate,
	}))
	s, err := w.open(t.Context())
	require.NoError(t, err)
	w.session.Store(&session{engine: brittle{s.engine}, dsn: s.dsn, types: s.types, fitters: s.fitters})
	d := upsert(&event.Object{Names: []string{"title", "version"}, Values: []any{"a", int64(1)}})
	require.NoError(t, w.Prepare(d))
	_, err = w.Push(t.Context(), d)
	require.ErrorContains(t, err, "panicked: index out of range")
	require.ErrorContains(t, err, "brittle.insert", "the stack says where")
	_, err = w.Push(t.Context(), d)
	require.NoError(t, err, "it goes on")
}
