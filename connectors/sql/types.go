package sql

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// columnTypes are the types of a database's columns, by what they are to hold.
type columnTypes struct {
	text, boolean, integer, float, bytes, timestamp, date, clock, json string
	// key is for text in a key: MySQL indexes no text of any length. exactKey also
	// tells apart what differs in a trailing space.
	key, exactKey string
	// decimal has verbs for precision and scale, or none; maxPrecision bounds them.
	decimal      string
	maxPrecision int
}

// of returns the type of a column whose values have type t, nil if that is not
// known.
func (c columnTypes) of(t *event.Type, key bool) string {
	switch {
	case t == nil:
		return c.orKey(c.text, key)
	case t.Logical == event.LogicalDecimal && c.maxPrecision == 0:
		return c.decimal
	case t.Logical == event.LogicalDecimal && t.Precision <= c.maxPrecision:
		return fmt.Sprintf(c.decimal, t.Precision, t.Scale)
	case t.Logical == event.LogicalDate:
		return c.date
	case slices.Contains([]string{event.LogicalTimeMillis, event.LogicalTimeMicros}, t.Logical):
		return c.clock
	case t.Logical != "" && t.Kind == event.Long: // the timestamps
		return c.timestamp
	case t.Logical != "":
		return c.orKey(c.text, key)
	}
	switch t.Kind { //nolint:exhaustive // the rest is text
	case event.Boolean:
		return c.boolean
	case event.Int, event.Long:
		return c.integer
	case event.Float, event.Double:
		return c.float
	case event.Bytes, event.Fixed:
		return c.bytes
	case event.Rec, event.Array, event.Map:
		return c.orKey(c.json, key)
	}
	return c.orKey(c.text, key)
}

func (c columnTypes) orKey(name string, key bool) string {
	if key {
		return c.key
	}
	return name
}

// typeOf is the static type of a column's values, nil if it is not known.
func typeOf(tree *connector.Tree) *event.Type {
	switch {
	case tree.Fields != nil:
		return &event.Type{Kind: event.Rec}
	case tree.Expr != nil && tree.Expr.Type != nil:
		t, _ := tree.Expr.Type.Nullable()
		return t
	}
	switch tree.Const.(type) {
	case bool:
		return &event.Type{Kind: event.Boolean}
	case int64:
		return &event.Type{Kind: event.Long}
	case float64:
		return &event.Type{Kind: event.Double}
	}
	return nil
}

// definition is the statement that creates the table.
func (t *table) definition() string {
	w, d := newWriter(t.dialect), t.dialect.traits()
	w.text("CREATE TABLE " + quoteTable(t.dialect, t.name) + " (")
	for i, column := range t.columns {
		values := &event.Type{Kind: event.Long} // of the version column
		if i < len(t.trees) {
			values = typeOf(t.trees[i])
		}
		key := slices.Contains(t.key, i)
		columnType := d.types.of(values, key)
		if key && t.exact {
			columnType = d.types.exactKey
		}
		w.text("\n  " + t.dialect.quote(column) + " " + columnType)
		if key {
			w.text(" NOT NULL")
		}
		w.text(",")
	}
	return w.text("\n  PRIMARY KEY (" + quoteAll(t.dialect, t.keyColumns()) + ")\n)" + d.tableOptions).sql()
}

// expressions calls yield for each expression of the tree until it returns false.
func expressions(tree *connector.Tree, yield func(*connector.Expr) bool) bool {
	if tree.Expr != nil {
		return yield(tree.Expr)
	}
	for _, f := range tree.Fields {
		if !expressions(f.Tree, yield) {
			return false
		}
	}
	return true
}

// dependsOn reports whether an expression of the tree names the variable, outside
// of quotes and not as a field. It is asked before expressions are compiled.
func dependsOn(tree *connector.Tree, variable string) bool {
	names := regexp.MustCompile(`"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:^|[^.\w])(` + regexp.QuoteMeta(variable) + `)\b`)
	return !expressions(tree, func(e *connector.Expr) bool {
		return !slices.ContainsFunc(names.FindAllStringSubmatch(e.Source, -1), func(m []string) bool { return m[1] != "" })
	})
}

// usesEvent reports whether the tree has no value on a tombstone.
func usesEvent(tree *connector.Tree) bool {
	return !expressions(tree, func(e *connector.Expr) bool { return !e.UsesEvent })
}
