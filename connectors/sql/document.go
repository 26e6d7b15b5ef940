package sql

import (
	"errors"
	"fmt"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// document is what Prepare makes of a delivery: arguments for the driver.
type document struct {
	// rows are aligned with the tables of the config; nil for a delete, and for a table
	// that does not take the event.
	rows [][]row
	// parameters are those of the statements.
	parameters *event.Object
	// keys tell which rows are the event's own, so that a later version or a
	// tombstone can find them.
	keys rowKeys
	// keysText is their text, as the guard keeps it.
	keysText string
	tables   []*table
}

// row is one row of a table, its values aligned with the columns. The text of its
// key tells it from others of the table, and orders them.
type row struct {
	key    string
	values []any
}

// MarshalJSON prints the rows by table, or the parameters.
func (d *document) MarshalJSON() ([]byte, error) {
	if d.parameters != nil {
		return event.JSON(d.parameters)
	}
	if d.rows == nil {
		return []byte("null"), nil
	}
	o := &event.Object{}
	for i, t := range d.tables {
		if d.rows[i] == nil {
			continue
		}
		list := make([]any, len(d.rows[i]))
		for j, r := range d.rows[i] {
			list[j] = &event.Object{Names: t.columns, Values: r.values}
		}
		o.Add(t.name, list)
	}
	return event.JSON(o)
}

// documentOf returns what Prepare left in the delivery.
func documentOf(d *connector.Delivery) (*document, error) {
	doc, ok := d.Document.(*document)
	if !ok {
		return nil, fmt.Errorf("push %q: the delivery holds %T, not what Prepare makes", d.ID, d.Document)
	}
	return doc, nil
}

var errNullKey = errors.New("a key column is null")

// rowsOf evaluates the rows of one table for an upsert, and what all of them have of
// the key.
func (t *table) rowsOf(d *connector.Delivery) ([]row, rowKey, error) {
	scope := connector.Scope{Event: d.Event}
	if t.each == nil {
		r, err := t.row(scope, d.Version)
		if err != nil {
			return nil, nil, err
		}
		own := make(rowKey, len(t.own))
		for _, i := range t.own {
			own.set(t.columns[i], r.values[i])
		}
		return []row{r}, own, nil
	}
	own, err := t.ownKey(scope)
	if err != nil {
		return nil, nil, err
	}
	items, err := t.items(scope)
	if err != nil {
		return nil, nil, err
	}
	rows, seen := make([]row, 0, len(items)), make(map[string]bool, len(items))
	for _, item := range items {
		scope.Locals = map[string]any{t.as: item}
		r, err := t.row(scope, d.Version)
		if err != nil {
			return nil, nil, err
		}
		if seen[r.key] {
			return nil, nil, fmt.Errorf("two rows have the key %s", r.key)
		}
		rows, seen[r.key] = append(rows, r), true
	}
	return rows, own, nil
}

func (t *table) items(scope connector.Scope) ([]any, error) {
	v, err := t.each.Eval(scope)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case nil:
		return nil, nil
	case []any:
		return v, nil
	}
	return nil, fmt.Errorf("%s: want a list, got %T", t.each.Place.Path, v)
}

// row evaluates one row.
func (t *table) row(scope connector.Scope, version connector.Version) (row, error) {
	r := row{values: make([]any, len(t.columns))}
	for i := range t.trees {
		v, err := t.value(i, scope)
		if err != nil {
			return r, err
		}
		r.values[i] = v
	}
	if t.version > 0 && version.Known {
		r.values[t.version] = version.Value
	}
	key := make([]any, len(t.key))
	for i, k := range t.key {
		if key[i] = r.values[k]; key[i] == nil {
			return r, fmt.Errorf("%w: %q", errNullKey, t.columns[k])
		}
	}
	var err error
	r.key, err = event.JSONText(key)
	return r, err
}

// ownKey evaluates the key columns that do not depend on the item.
func (t *table) ownKey(scope connector.Scope) (rowKey, error) {
	key := make(rowKey, len(t.own))
	for _, i := range t.own {
		v, err := t.value(i, scope)
		if err != nil {
			return nil, err
		}
		if v == nil {
			return nil, fmt.Errorf("%w: %q", errNullKey, t.columns[i])
		}
		key.set(t.columns[i], v)
	}
	return key, nil
}

// value evaluates one column into an argument for the driver.
func (t *table) value(i int, scope connector.Scope) (any, error) {
	v, err := t.trees[i].Eval(scope)
	if err != nil {
		return nil, err
	}
	if v, err = argument(t.dialect, v); err != nil {
		return nil, fmt.Errorf("column %q: %w", t.columns[i], err)
	}
	return v, nil
}
