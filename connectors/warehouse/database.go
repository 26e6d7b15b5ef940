package warehouse

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/hms-sme/policysync/pkg/event"
)

// database is what the engines have in common that are a file and an SQL driver. It
// writes on one connection, as the file allows one writer.
type database struct {
	db       *sql.DB
	classify func(error) error
	typeOf   func(*event.Type) string
	// describe asks for the names and types of a table's columns.
	describe string
	// sorts tells that an index serves order_by.
	sorts bool
}

func openDatabase(d database, driver, source string) (database, error) {
	var err error
	if d.db, err = sql.Open(driver, source); err != nil {
		return d, fmt.Errorf("open %s: %w", driver, err)
	}
	d.db.SetMaxOpenConns(1)
	return d, nil
}

func (s *database) create(ctx context.Context, t *table) error {
	columns := make([]string, len(t.columns))
	for i, c := range t.columns {
		columns[i] = quote(c.name) + " " + s.typeOf(c.typ)
	}
	statements := []string{
		fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s, PRIMARY KEY (%s))",
			quote(t.name), strings.Join(columns, ", "), quote(identity[:]...)),
		latestView(t),
	}
	if t.orderBy != nil && s.sorts {
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

//nolint:unparam // other engines ask their server, which may fail
func (s *database) evolution(_ context.Context, t *table, missing []column) ([]string, error) {
	var statements []string
	for _, c := range missing {
		statements = append(statements, "ALTER TABLE "+quote(t.name)+" ADD COLUMN "+quote(c.name)+" "+s.typeOf(c.typ))
	}
	return append(statements, "DROP VIEW IF EXISTS "+quote(t.latest()), latestView(t)), nil
}

func (s *database) exec(ctx context.Context, statement string) error {
	_, err := s.db.ExecContext(ctx, statement)
	return s.classify(err)
}

func (s *database) columns(ctx context.Context, name string) (types map[string]string, err error) {
	rows, err := s.db.QueryContext(ctx, s.describe, name)
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", s.classify(err))
	}
	defer func() { _ = rows.Close() }() // Err has what went wrong
	types = map[string]string{}
	for rows.Next() {
		var column, columnType string
		if err := rows.Scan(&column, &columnType); err != nil {
			return nil, fmt.Errorf("read columns: %w", s.classify(err))
		}
		types[column] = columnType
	}
	return types, s.classify(rows.Err())
}

func (s *database) insert(ctx context.Context, t *table, rows [][]any) error {
	return s.classify(s.commit(ctx, t, rows))
}

func (s *database) commit(ctx context.Context, t *table, rows [][]any) error {
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

func (s *database) query(ctx context.Context, query string, args []any, each func([]any) error) error {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return s.classify(err)
	}
	defer func() { _ = rows.Close() }() // Err has what went wrong
	columns, err := rows.Columns()
	if err != nil {
		return s.classify(err)
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
	return s.classify(rows.Err())
}

func (s *database) close() error { return s.db.Close() }

// latestView is the statement that makes the view of the newest version of each key.
func latestView(t *table) string {
	return "CREATE VIEW IF NOT EXISTS " + quote(t.latest()) + " AS " + newestQuery(quote(t.name), t.columnNames())
}

// newestQuery is the query for the newest version of each key, by the rules of
// clickHouseLatest. A row without version comes after those that have one.
func newestQuery(from string, columns []string) string {
	const query = "WITH marked AS (SELECT *, " +
		"max(CASE WHEN _deleted THEN _offset END) OVER (PARTITION BY _key, _topic_id, _partition) AS buried FROM {table}), " +
		"left_over AS (SELECT *, row_number() OVER (PARTITION BY _key, _topic_id, _partition " +
		"ORDER BY _deleted, _version DESC NULLS LAST, _offset DESC, _ingested_at DESC) AS tip FROM marked " +
		"WHERE _offset >= coalesce(buried, 0)), " +
		"tips AS (SELECT *, max(CASE WHEN _deleted THEN _ingested_at END) OVER (PARTITION BY _key) AS buried_at " +
		"FROM left_over WHERE tip = 1), " +
		"ranked AS (SELECT *, row_number() OVER (PARTITION BY _key " +
		"ORDER BY _deleted, _version DESC NULLS LAST, _ingested_at DESC) AS place FROM tips " +
		"WHERE buried_at IS NULL OR _ingested_at >= buried_at) " +
		"SELECT {columns} FROM ranked WHERE place = 1 AND NOT _deleted"
	return strings.NewReplacer("{table}", from, "{columns}", quote(columns...)).Replace(query)
}
