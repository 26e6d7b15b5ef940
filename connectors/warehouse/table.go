package warehouse

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

const documentColumn = "document"

// identity is what makes two rows the same delivery.
var identity = [...]string{"_key", "_topic_id", "_partition", "_offset"}

// table is the shape of a history table: what every row has, and what the config
// maps. The time of ingestion comes last, since a row has it only when it is sent.
type table struct {
	name    string
	columns []column
	// names are the columns' but the last; all prepared rows share them.
	names []string
	tree  *connector.Tree
	// orderBy are the mapped columns to sort by ahead of the identity.
	orderBy []string
}

// column has the type that its values have in an event, nil if that is not known
// before the values come.
type column struct {
	name     string
	typ      *event.Type
	nullable bool
}

func newTable(cfg *Config, target string) *table {
	var (
		text      = &event.Type{Kind: event.String}
		flag      = &event.Type{Kind: event.Boolean}
		short     = &event.Type{Kind: event.Int}
		long      = &event.Type{Kind: event.Long}
		timestamp = &event.Type{Kind: event.Long, Logical: event.LogicalTimestampMicros}
	)
	t := &table{name: cfg.Table, tree: cfg.Map, orderBy: cfg.OrderBy, columns: []column{
		{name: "_key", typ: text},
		{name: "_version", typ: long, nullable: true},
		{name: "_deleted", typ: flag},
		{name: "_topic", typ: text},
		{name: "_topic_id", typ: text},
		{name: "_partition", typ: short},
		{name: "_offset", typ: long},
		{name: "_event_time", typ: timestamp},
		{name: "_delivery_id", typ: text},
	}}
	if t.name == "" {
		t.name = snake(target)
	}
	if cfg.Map.IsZero() {
		t.tree = nil
		t.columns = append(t.columns, column{name: documentColumn, typ: text, nullable: true})
	} else {
		for _, f := range cfg.Map.Fields {
			t.columns = append(t.columns, column{
				name: f.Name, typ: f.Tree.Type(), nullable: !slices.Contains(cfg.OrderBy, f.Name),
			})
		}
	}
	t.names = t.columnNames()
	t.columns = append(t.columns, column{name: "_ingested_at", typ: timestamp})
	return t
}

// latest is the name of the view of the newest versions.
func (t *table) latest() string { return t.name + "_latest" }

// columnNames are the names of all columns, in their order.
func (t *table) columnNames() []string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return names
}

// row makes the row of a delivery, all but the time of its ingestion.
//
// A version that is the source offset is left out: the offset has its own column,
// and compares only within one topic id and partition, as the view does.
func (t *table) row(d *connector.Delivery) (*event.Object, error) {
	e := d.Event
	var version any
	if d.Version.Known && !d.Version.ByOffset {
		version = d.Version.Value
	}
	values := append(make([]any, 0, len(t.names)),
		d.Key, version, d.Op == connector.Delete, e.Topic, e.TopicID.String(),
		int64(e.Partition), e.Offset, e.Timestamp, d.ID)
	switch {
	case d.Op == connector.Delete:
		values = append(values, make([]any, len(t.names)-len(values))...)
	case t.tree == nil:
		document, err := event.JSONText(e.Value)
		if err != nil {
			return nil, fmt.Errorf("write event: %w", err)
		}
		values = append(values, document)
	default:
		for _, f := range t.tree.Fields {
			v, err := f.Tree.Eval(connector.Scope{Event: e})
			if err != nil {
				return nil, err
			}
			values = append(values, v)
		}
	}
	return &event.Object{Names: t.names, Values: values}, nil
}

// types returns the types of t's columns in their order, and the columns that the
// table lacks.
func (t *table) types(found map[string]string) (types []string, missing []column) {
	types = make([]string, len(t.columns))
	for i, c := range t.columns {
		if types[i] = found[c.name]; types[i] == "" {
			missing = append(missing, c)
		}
	}
	return types, missing
}

// addable reports whether a table with rows can get the columns: those that are its
// own or that it is sorted by can't be null.
func addable(missing []column) bool {
	return !slices.ContainsFunc(missing, func(c column) bool { return !c.nullable || strings.HasPrefix(c.name, "_") })
}

// lacks is the error of a table without the columns. It holds the target: the config
// or the table is wrong, not the policy.
func (t *table) lacks(missing []column, cure []string) error {
	names := make([]string, len(missing))
	for i, c := range missing {
		names[i] = c.name
	}
	text := fmt.Sprintf("table %q lacks the columns %s", t.name, strings.Join(names, ", "))
	if addable(missing) {
		text += ": " + strings.Join(cure, "; ")
	}
	return connector.AsUnavailable(errors.New(text))
}

// quote makes a name safe in SQL; all engines take double quotes.
func quote(names ...string) string {
	return `"` + strings.Join(names, `", "`) + `"`
}

// text is how a value stands in a text column: scalars as they print, whatever is
// nested as JSON, bytes as they are.
func text(v any) (string, error) {
	switch v := v.(type) {
	case []byte:
		return string(v), nil
	case []any, map[string]any, *event.Object:
		return event.JSONText(v)
	}
	return event.Text(v)
}
