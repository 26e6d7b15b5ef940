package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

const sqliteScheme = "sqlite://"

// timestampText is a moment as text of fixed width, so that texts sort as times do.
const timestampText = "2006-01-02T15:04:05.000000Z"

// sqliteEngine keeps the history in a file. It writes on one connection, as SQLite
// does anyway; others may read the file meanwhile.
type sqliteEngine struct{ db *sql.DB }

func openSQLite(path string) (*sqliteEngine, error) {
	pragmas := url.Values{"_pragma": {"busy_timeout(1000)", "journal_mode(WAL)"}}
	source := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + pragmas.Encode()
	if path == ":memory:" {
		source = ":memory:"
	}
	db, err := sql.Open("sqlite", source)
	if err != nil {
		return nil, fmt.Errorf("open sqlite: %w", err)
	}
	db.SetMaxOpenConns(1)
	return &sqliteEngine{db: db}, nil
}

func (s *sqliteEngine) create(ctx context.Context, t *table) error {
	columns := make([]string, len(t.columns))
	for i, c := range t.columns {
		columns[i] = quote(c.name) + " " + sqliteType(c.typ)
	}
	statements := []string{
		fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s, PRIMARY KEY (%s))",
			quote(t.name), strings.Join(columns, ", "), quote(identity[:]...)),
		sqliteLatest(t),
	}
	if t.orderBy != nil {
		statements = append(statements, fmt.Sprintf("CREATE INDEX IF NOT EXISTS %s ON %s (%s)",
			quote(t.name+"_order"), quote(t.name), quote(t.orderBy...)))
	}
	for _, statement := range statements {
		if err := s.exec(ctx, statement); err != nil {
			return fmt.Errorf("create: %w", err)
		}
	}
	return nil
}

func (*sqliteEngine) evolution(_ context.Context, t *table, missing []column) ([]string, error) {
	var statements []string
	for _, c := range missing {
		statements = append(statements, "ALTER TABLE "+quote(t.name)+" ADD COLUMN "+quote(c.name)+" "+sqliteType(c.typ))
	}
	return append(statements, "DROP VIEW IF EXISTS "+quote(t.latest()), sqliteLatest(t)), nil
}

func (s *sqliteEngine) exec(ctx context.Context, statement string) error {
	_, err := s.db.ExecContext(ctx, statement)
	return classifySQLite(err)
}

// sqliteType is the type of a column for values of type t.
func sqliteType(t *event.Type) string {
	switch {
	case t == nil, t.Logical != "":
		return "TEXT"
	case t.Kind == event.Boolean, t.Kind == event.Int, t.Kind == event.Long:
		return "INTEGER"
	case t.Kind == event.Float, t.Kind == event.Double:
		return "REAL"
	case t.Kind == event.Bytes, t.Kind == event.Fixed:
		return "BLOB"
	}
	return "TEXT"
}

// sqliteLatest is the statement that makes the view of the newest version of each
// key, by the rules of clickHouseLatest. SQLite sorts nulls below all numbers, so a
// row without version comes last.
func sqliteLatest(t *table) string {
	const latest = "CREATE VIEW IF NOT EXISTS {view} AS SELECT {columns} FROM {table} WHERE rowid IN (" +
		"SELECT id FROM (SELECT id, _deleted, " +
		"row_number() OVER (PARTITION BY _key ORDER BY _deleted, _version DESC, _ingested_at DESC) AS place FROM (" +
		"SELECT *, max(CASE WHEN _deleted THEN _ingested_at END) OVER (PARTITION BY _key) AS buried_at FROM (" +
		"SELECT *, row_number() OVER (PARTITION BY _key, _topic_id, _partition " +
		"ORDER BY _deleted, _version DESC, _offset DESC) AS tip FROM (" +
		"SELECT rowid AS id, _key, _topic_id, _partition, _offset, _version, _deleted, _ingested_at, " +
		"max(CASE WHEN _deleted THEN _offset END) OVER (PARTITION BY _key, _topic_id, _partition) AS buried FROM {table}) " +
		"WHERE _offset >= coalesce(buried, 0)) WHERE tip = 1) " +
		"WHERE _ingested_at >= coalesce(buried_at, '')) WHERE place = 1 AND NOT _deleted)"
	return strings.NewReplacer("{view}", quote(t.latest()), "{table}", quote(t.name), "{columns}", quote(t.columnNames()...)).
		Replace(latest)
}

func (s *sqliteEngine) columns(ctx context.Context, name string) (types map[string]string, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT name, type FROM pragma_table_info(?)", name)
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", classifySQLite(err))
	}
	defer func() { _ = rows.Close() }() // Err has what went wrong
	types = map[string]string{}
	for rows.Next() {
		var column, columnType string
		if err := rows.Scan(&column, &columnType); err != nil {
			return nil, fmt.Errorf("read columns: %w", classifySQLite(err))
		}
		types[column] = columnType
	}
	return types, classifySQLite(rows.Err())
}

// fit keeps numbers and bytes, and writes all else as text.
func (*sqliteEngine) fit(v any, _ string) (any, error) {
	switch v := v.(type) {
	case nil, int64, float64, bool, []byte:
		return v, nil
	case time.Time:
		return v.UTC().Format(timestampText), nil
	}
	return text(v)
}

func (s *sqliteEngine) insert(ctx context.Context, t *table, rows [][]any) error {
	return classifySQLite(s.commit(ctx, t, rows))
}

func (s *sqliteEngine) commit(ctx context.Context, t *table, rows [][]any) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit there is nothing to roll back
	names := t.columnNames()
	//nolint:gosec // names are quoted, values are parameters
	insert, err := tx.PrepareContext(ctx, "INSERT OR REPLACE INTO "+quote(t.name)+" ("+quote(names...)+
		") VALUES (?"+strings.Repeat(", ?", len(names)-1)+")")
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }() // the transaction ends it anyway
	for _, row := range rows {
		if _, err := insert.ExecContext(ctx, row...); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (s *sqliteEngine) query(ctx context.Context, query string, args []any, each func([]any) error) error {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return classifySQLite(err)
	}
	defer func() { _ = rows.Close() }() // Err has what went wrong
	columns, err := rows.Columns()
	if err != nil {
		return classifySQLite(err)
	}
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return fmt.Errorf("read row: %w", err)
		}
		if err := each(values); err != nil {
			return err
		}
	}
	return classifySQLite(rows.Err())
}

func (s *sqliteEngine) close() error { return s.db.Close() }

// classifySQLite gives an error its class by its primary result code
// (https://sqlite.org/rescode.html).
func classifySQLite(err error) error {
	if err == nil {
		return nil
	}
	coded := (*sqlite.Error)(nil)
	if !errors.As(err, &coded) {
		return connector.AsUnavailable(err)
	}
	switch coded.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
		return connector.AsPermanent(err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_PERM,
		sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR,
		sqlite3.SQLITE_ERROR: // a table or column that is not there
		return connector.AsUnavailable(err)
	}
	return connector.AsTransient(err)
}
