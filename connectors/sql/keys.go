package sql

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/hms-sme/policysync/pkg/event"
)

// rowKeys are, by table, the values of the columns that are the same in all rows
// of one event; for statements, the last parameters. They are kept in the guard.
type rowKeys map[string]rowKey

// rowKey maps columns to arguments for the driver, with blob for []byte, so that
// two can be compared.
type rowKey map[string]any

// blob is a []byte that can be compared.
type blob string

func (k rowKey) set(column string, argument any) {
	if b, ok := argument.([]byte); ok {
		argument = blob(b)
	}
	k[column] = argument
}

// argument returns the value of a column as the driver wants it.
func (k rowKey) argument(column string) any {
	if b, ok := k[column].(blob); ok {
		return []byte(b)
	}
	return k[column]
}

// columns returns the names of the columns, sorted.
func (k rowKey) columns() []string { return sortedNames(k) }

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// text is the same for equal keys only, and orders them.
func (k rowKey) text() string { return fmt.Sprintf("%#v", k) }

// text is the JSON of the keys, the same for equal keys only. It tells bytes from
// text, as {"base64": "…"}, and 2.0 from 2.
func (k rowKeys) text() (string, error) {
	tables := event.Object{Names: sortedNames(k), Values: make([]any, len(k))}
	for i, table := range tables.Names {
		key := event.Object{Names: k[table].columns(), Values: make([]any, len(k[table]))}
		for j, column := range key.Names {
			if key.Values[j] = k[table][column]; isBlob(key.Values[j]) {
				key.Values[j] = &event.Object{Names: []string{"base64"}, Values: []any{k[table].argument(column)}}
			}
		}
		tables.Values[i] = &key
	}
	return event.JSONText(&tables)
}

func isBlob(v any) bool {
	_, is := v.(blob)
	return is
}

// UnmarshalJSON reads what [rowKeys.text] wrote.
func (k *rowKey) UnmarshalJSON(text []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	*k = make(rowKey, len(fields))
	for column, raw := range fields {
		var i int64
		var b struct {
			Base64 *[]byte `json:"base64"`
		}
		switch {
		case json.Unmarshal(raw, &i) == nil && string(raw) != "null":
			(*k)[column] = i
		case json.Unmarshal(raw, &b) == nil && b.Base64 != nil:
			(*k)[column] = blob(*b.Base64)
		default:
			var v any
			if err := json.Unmarshal(raw, &v); err != nil {
				return err
			}
			(*k)[column] = v
		}
	}
	return nil
}
