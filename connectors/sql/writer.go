package sql

import (
	"fmt"
	"slices"
	"strings"
)

// maxArguments bounds the arguments of one statement: SQLite takes 32,766,
// PostgreSQL 65,535.
const maxArguments = 30_000

// writer builds a statement with its arguments.
type writer struct {
	dialect   dialect
	built     strings.Builder
	arguments []any
}

func newWriter(d dialect) *writer { return &writer{dialect: d} }

func (w *writer) text(s string) *writer {
	w.built.WriteString(s)
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

func (w *writer) sql() string { return w.built.String() }

// insert writes rows into t, whose columns have the types, with as few statements
// as their arguments allow; ending says what becomes of a row that exists.
func (t *table) insert(types []string, ending string, rows [][]any) []command {
	d, most := t.dialect, max(1, maxArguments/len(t.columns))
	if d.traits().arrays {
		most = maxArguments
	}
	var commands []command
	for part := range slices.Chunk(rows, most) {
		w := newWriter(d).text("INSERT INTO " + quoteTable(d, t.name) + " (" + quoteAll(d, t.columns) + ") ")
		d.values(w, types, part)
		commands = append(commands, command{writer: w.text(ending), does: fmt.Sprintf("write to table %q", t.name), rows: len(part)})
	}
	return commands
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

// selectGuards writes what [dialect.guards] describes; hint follows the table's name.
func (w *writer) selectGuards(columns, hint, target string, keys []string) {
	w.text("SELECT " + columns + " FROM " + guardTable + hint + " WHERE target = ").argument(target).text(" AND ")
	key := w.dialect.quote("key")
	w.text(key + " IN (")
	for i, k := range keys {
		w.separate(i, ", ").argument(k)
	}
	w.text(") ORDER BY " + key)
}

// maxAlternatives bounds the ORs of one statement: SQLite takes expressions of a
// depth of 1,000.
const maxAlternatives = 200
