package sql

import (
	"context"
	"database/sql"
	"slices"
	"strings"
)

// maxArguments bounds the arguments of one statement: SQLite takes 32,766,
// PostgreSQL 65,535.
const maxArguments = 30_000

// writer builds a statement with its arguments.
type writer struct {
	dialect   dialect
	texts     []string
	arguments []any
}

func newWriter(d dialect) *writer { return &writer{dialect: d} }

func (w *writer) text(s string) *writer {
	w.texts = append(w.texts, s)
	return w
}

// separate writes the separator, except before the first of a list.
func (w *writer) separate(i int, separator string) *writer {
	if i > 0 {
		w.text(separator)
	}
	return w
}

func (w *writer) argument(v any) *writer {
	w.arguments = append(w.arguments, v)
	return w.text(w.dialect.placeholder(len(w.arguments)))
}

// matches writes that the columns of the key have its values.
func (w *writer) matches(key rowKey) *writer {
	for i, column := range key.columns() {
		w.separate(i, " AND ").text(w.dialect.quote(column) + " = ").argument(key.argument(column))
	}
	return w
}

func (w *writer) sql() string { return strings.Join(w.texts, "") }

func (w *writer) exec(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, w.sql(), w.arguments...)
	return err
}

// insert writes rows into t, whose columns have the types, with as few statements
// as their arguments allow; ending says what becomes of a row that exists. It
// returns the number of rows that are new or changed, as the database counts.
func (t *table) insert(ctx context.Context, tx *sql.Tx, types []string, ending string, rows [][]any) (int64, error) {
	d, most, written := t.dialect, max(1, maxArguments/len(t.columns)), int64(0)
	if d.traits().arrays {
		most = maxArguments
	}
	for part := range slices.Chunk(rows, most) {
		w := newWriter(d).text("INSERT INTO " + quoteTable(d, t.name) + " (" + quoteAll(d, t.columns) + ") ")
		d.values(w, types, part)
		result, err := tx.ExecContext(ctx, w.text(ending).sql(), w.arguments...)
		if err != nil {
			return written, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

// list writes rows as VALUES.
func (w *writer) list(rows [][]any) {
	w.text("VALUES ")
	for i, values := range rows {
		w.separate(i, ", ").text("(").tuple(values).text(")")
	}
}

// tuple writes arguments with commas between them.
func (w *writer) tuple(values []any) *writer {
	for i, v := range values {
		w.separate(i, ", ").argument(v)
	}
	return w
}

// in writes that a column has one of the keys.
func (w *writer) in(column string, keys []string) {
	w.text(w.dialect.quote(column) + " IN (")
	for i, key := range keys {
		w.separate(i, ", ").argument(key)
	}
	w.text(")")
}

// maxAlternatives bounds the ORs of one statement: SQLite takes expressions of a
// depth of 1,000.
const maxAlternatives = 200

// deleteRows deletes the rows that have the values of one of the keys.
func deleteRows(ctx context.Context, tx *sql.Tx, d dialect, table string, keys []rowKey) error {
	for part := range slices.Chunk(keys, maxAlternatives) {
		w := newWriter(d)
		w.text("DELETE FROM " + quoteTable(d, table) + " WHERE ")
		for i, key := range part {
			w.separate(i, " OR ").text("(").matches(key).text(")")
		}
		if err := w.exec(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}
