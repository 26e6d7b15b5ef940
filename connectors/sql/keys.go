package sql

import (
	"encoding/json"
	"fmt"
	"maps"
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
func (k rowKey) columns() []string { return slices.Sorted(maps.Keys(k)) }

// text is the same for equal keys only, and orders them.
func (k rowKey) text() string { return fmt.Sprintf("%#v", k) }

// text is the JSON of the keys, the same for equal keys only. It tells bytes from
// text, as {"base64": "…"}, and 2.0 from 2.
func (k rowKeys) text() (string, error) {
	tables := make(map[string]any, len(k))
	for table, key := range k {
		fields := make(map[string]any, len(key))
		for column, v := range key {
			if b, ok := v.(blob); ok {
				v = &event.Object{Names: []string{"base64"}, Values: []any{[]byte(b)}}
			}
			fields[column] = v
		}
		tables[table] = fields
	}
	text, err := event.AppendJSON(nil, tables)
	return string(text), err
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
