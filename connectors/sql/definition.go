package sql

import (
	"fmt"
	"slices"

	"github.com/hms-sme/policysync/pkg/event"
)

// valuesOf is the type of the values of the ith column, nil if it is not known.
func (t *table) valuesOf(i int) *event.Type {
	switch {
	case i < len(t.trees):
		return t.trees[i].Type()
	case i == t.version:
		return &event.Type{Kind: event.Long}
	}
	return &event.Type{Kind: event.Long, Logical: event.LogicalTimestampMicros}
}

// createdType is the type that the ith column gets where the connector makes it.
func (t *table) createdType(i int) string {
	types, key := t.dialect.traits().types, slices.Contains(t.key, i)
	if key && t.exact {
		return types.exactKey
	}
	return types.of(t.valuesOf(i), key)
}

// definition is the statement that creates the table.
func (t *table) definition() string {
	w := newWriter(t.dialect)
	w.text("CREATE TABLE " + quoteTable(t.dialect, t.name) + " (")
	for i, column := range t.columns {
		w.text(t.dialect.quote(column) + " " + t.createdType(i))
		if slices.Contains(t.key, i) {
			w.text(" NOT NULL")
		}
		w.text(", ")
	}
	w.text("PRIMARY KEY (" + quoteAll(t.dialect, t.keyColumns()) + "))" + t.dialect.traits().tableOptions)
	if t.name == guardTable {
		w.text(t.dialect.traits().guardOptions)
	}
	return w.sql()
}

// missing is the fault of a table that lacks the ith column.
func (t *table) missing(i int) fault {
	f := fault{table: t, text: fmt.Sprintf("table %q has no column %q", t.name, t.columns[i])}
	if slices.Contains(t.key, i) {
		return f // the rows that are there have no value for it
	}
	f.kind = schemaEvolve
	f.cure = "ALTER TABLE " + quoteTable(t.dialect, t.name) + " ADD COLUMN " + t.dialect.quote(t.columns[i]) + " " + t.createdType(i)
	return f
}

// misfit is the fault of a table whose ith column can't hold the values. Its cure
// is never run by us: the database may have to write the whole table anew.
func (t *table) misfit(i int, have columnType) (fault, bool) {
	created := t.createdType(i)
	if have.holds(t.valuesOf(i), created) {
		return fault{}, false
	}
	f := fault{table: t, text: fmt.Sprintf("column %q of table %q is %s, its values need %s", t.columns[i], t.name, have.name, created)}
	if change := t.dialect.traits().changeType; change != "" {
		f.cure = "ALTER TABLE " + quoteTable(t.dialect, t.name) + " " + fmt.Sprintf(change, t.dialect.quote(t.columns[i]), created)
	}
	return f, true
}
