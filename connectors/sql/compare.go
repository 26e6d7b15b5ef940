package sql

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
)

var errStatements = fmt.Errorf("%w: a statement writes it", connector.ErrNotComparable)

// Compare implements [connector.Comparer]. Guards and rows are read in one
// transaction, so that no push comes between.
func (c *Connector) Compare(ctx context.Context, ds []*connector.Delivery) ([]connector.Comparison, error) {
	set, ok := c.shape.(*tableSet)
	if !ok {
		return nil, errStatements
	}
	ctx, cancel := c.bind(ctx)
	defer cancel()
	found, err := c.compare(ctx, set, ds)
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	return found, nil
}

func (c *Connector) compare(ctx context.Context, set *tableSet, ds []*connector.Delivery) ([]connector.Comparison, error) {
	types, err := c.fitting(ctx)
	if err != nil {
		return nil, err
	}
	isolation := sql.LevelRepeatableRead
	if c.dialect.traits().oneWriter {
		isolation = sql.LevelDefault // a transaction of SQLite reads one state anyway
	}
	tx, err := c.db.BeginTx(ctx, &sql.TxOptions{Isolation: isolation})
	if err != nil {
		return nil, fmt.Errorf("begin transaction: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	keys := make([]string, len(ds))
	for i, d := range ds {
		keys[i] = d.Key
	}
	guards := map[string]guard{}
	if types[c.guards] != nil {
		if err := c.readGuards(ctx, tx, keys, guards); err != nil {
			return nil, err
		}
	}
	all := make([]connector.Comparison, len(ds))
	rowsDue, rowsMissing := make([]int, len(ds)), make([]int, len(ds))
	for i, t := range set.standing(types) {
		held, err := t.read(ctx, tx, ds, guards)
		if err != nil {
			return nil, fmt.Errorf("read table %q: %w", t.name, err)
		}
		for j, d := range ds {
			doc, err := documentOf(d)
			if err != nil {
				return nil, err
			}
			if d.Op == connector.Delete {
				keys, err := t.ownKeys(d, doc, guards[d.Key])
				if err != nil {
					return nil, err
				}
				for _, own := range keys {
					name := t.nameOfKey(own)
					if all[j].Names = append(all[j].Names, name); len(held[name]) > 0 {
						all[j].Difference = connector.Extra
					}
				}
				continue
			}
			own, takes := doc.keys[t.name]
			if !takes {
				continue
			}
			name := t.nameOfKey(own)
			all[j].Names = append(all[j].Names, name)
			missing := t.differences(doc.rows[i], held[name], &all[j].Fields)
			rowsDue[j], rowsMissing[j] = rowsDue[j]+len(doc.rows[i]), rowsMissing[j]+missing
		}
	}
	for j, d := range ds {
		g, known := guards[d.Key]
		all[j].Difference = g.difference(known, d, &all[j], rowsDue[j] > 0 && rowsDue[j] == rowsMissing[j])
	}
	return all, nil
}

// difference judges a key by its guard and by what was found of its rows.
func (g guard) difference(known bool, d *connector.Delivery, c *connector.Comparison, gone bool) connector.Difference {
	next := guardOf(d)
	switch {
	case d.Op == connector.Delete && (c.Difference == connector.Extra || known && !g.deleted && g.admits(next)):
		return connector.Extra
	case d.Op == connector.Delete:
		return ""
	case known && !g.admits(next):
		return connector.Newer
	case !known || gone:
		return connector.Missing
	case !next.admits(g):
		return connector.Stale
	case len(c.Fields) > 0:
		return connector.Different
	}
	return ""
}

// Names implements [connector.Comparer]: a name is a table and the values of the
// columns that are the same in all rows of one event.
func (c *Connector) Names(ctx context.Context, each func(name string) error) error {
	set, ok := c.shape.(*tableSet)
	if !ok {
		return errStatements
	}
	ctx, cancel := c.bind(ctx)
	defer cancel()
	types, err := c.fitting(ctx)
	if err != nil {
		return c.failure(ctx, err)
	}
	for _, t := range set.standing(types) {
		if len(t.own) == 0 || t.types == nil {
			continue
		}
		err := t.query(ctx, c.db, "SELECT DISTINCT "+t.selection(t.own...), t.alive(), nil, func(own []any) error {
			return each(t.nameOf(own))
		})
		if err != nil {
			return c.failure(ctx, fmt.Errorf("read table %q: %w", t.name, err))
		}
	}
	return nil
}

// standing is a table as it stands in the database: its types are nil if it is not there,
// and the name of one is empty if that column is not.
type standing struct {
	*table
	types []columnType
}

func (s *tableSet) standing(types columnsOf) []standing {
	list := make([]standing, len(s.list))
	for i, t := range s.list {
		list[i].table = t
		for _, name := range types[t] {
			list[i].types = append(list[i].types, parseType(name))
		}
	}
	return list
}

// selection lists columns, with null for those that are not there.
func (t standing) selection(columns ...int) string {
	names := make([]string, len(columns))
	for i, k := range columns {
		if names[i] = "NULL"; t.types[k].name != "" {
			names[i] = t.dialect.quote(t.columns[k])
		}
	}
	return strings.Join(names, ", ")
}

// alive is the condition of rows that are not marked as deleted.
func (t standing) alive() string {
	if t.deleted == 0 || t.types[t.deleted].name == "" {
		return ""
	}
	return t.dialect.quote(t.columns[t.deleted]) + " IS NULL"
}

// nameOfKey is the name of the rows with the key.
func (t standing) nameOfKey(key rowKey) string {
	own := make([]any, len(t.own))
	for i, k := range t.own {
		own[i] = key.argument(t.columns[k])
	}
	return t.nameOf(own)
}

func (t standing) nameOf(own []any) string { return t.name + " " + t.texts(t.own, own) }

func (t standing) texts(columns []int, values []any) string {
	texts := make([]string, len(columns))
	for i, k := range columns {
		var of columnType
		if t.types != nil {
			of = t.types[k]
		}
		texts[i] = fmt.Sprintf("%q", of.canonical(values[i]))
	}
	return strings.Join(texts, ",")
}

// rowName tells the row from others of the table.
func (t standing) rowName(values []any) string {
	key := make([]any, len(t.key))
	for i, k := range t.key {
		key[i] = values[k]
	}
	return t.texts(t.key, key)
}

// read returns the rows that the table holds under the own keys of the deliveries,
// by name and then by the key of the row.
func (t standing) read(ctx context.Context, q querier, ds []*connector.Delivery, guards map[string]guard) (map[string]map[string][]any, error) {
	if t.types == nil {
		return nil, nil
	}
	var keys []rowKey
	for _, d := range ds {
		doc, err := documentOf(d)
		if err != nil {
			return nil, err
		}
		own, err := t.ownKeys(d, doc, guards[d.Key])
		if err != nil {
			return nil, err
		}
		keys = append(keys, own...)
	}
	held, columns := map[string]map[string][]any{}, make([]int, len(t.columns))
	for i := range columns {
		columns[i] = i
	}
	for part := range slices.Chunk(keys, maxAlternatives) {
		w := newWriter(t.dialect)
		for i, key := range part {
			w.separate(i, " OR ").text("(").matches(key).text(")")
		}
		where := "(" + w.sql() + ")"
		if alive := t.alive(); alive != "" {
			where += " AND " + alive
		}
		err := t.query(ctx, q, "SELECT "+t.selection(columns...), where, w.arguments, func(values []any) error {
			own := make([]any, len(t.own))
			for i, k := range t.own {
				own[i] = values[k]
			}
			name := t.nameOf(own)
			if held[name] == nil {
				held[name] = map[string][]any{}
			}
			held[name][t.rowName(values)] = values
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return held, nil
}

// ownKeys are the keys of the rows that a delivery writes; of a delete, those that it
// finds without the event, and those that the guard remembers.
func (t *table) ownKeys(d *connector.Delivery, doc *document, g guard) ([]rowKey, error) {
	var keys []rowKey
	if own := doc.keys[t.name]; len(own) > 0 {
		keys = append(keys, own)
	}
	if d.Op != connector.Delete {
		return keys, nil
	}
	prior, err := g.keys(doc)
	if err != nil {
		return nil, err
	}
	if own := prior[t.name]; len(own) > 0 && !maps.Equal(own, doc.keys[t.name]) {
		keys = append(keys, own)
	}
	return keys, nil
}

func (t standing) query(ctx context.Context, q querier, selection, where string, args []any, each func([]any) error) error {
	if where != "" {
		where = " WHERE " + where
	}
	rows, err := q.QueryContext(ctx, selection+" FROM "+quoteTable(t.dialect, t.name)+where, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := each(values); err != nil {
			return err
		}
	}
	return rows.Err()
}

// differences adds what differs between the rows that should be there and those that
// are, and returns how many are not there.
func (t standing) differences(want []row, have map[string][]any, to *[]connector.FieldDifference) (missing int) {
	due := map[string]bool{}
	for _, r := range want {
		name := t.rowName(r.values)
		due[name] = true
		held, there := have[name]
		if !there {
			missing++
			*to = append(*to, connector.FieldDifference{Field: t.name + "[" + name + "]", Want: "a row", Have: "none"})
			continue
		}
		for i, column := range t.columns {
			if i == t.deleted && t.deleted > 0 || t.version > 0 && i == t.version && r.values[i] == nil {
				continue
			}
			if !t.types[i].same(r.values[i], held[i]) {
				*to = append(*to, connector.FieldDifference{
					Field: t.name + "[" + name + "]." + column, Want: plain(r.values[i]), Have: plain(held[i]),
				})
			}
		}
	}
	if t.each != nil && !t.replace {
		return missing // rows of earlier versions stay
	}
	for name := range have {
		if !due[name] {
			*to = append(*to, connector.FieldDifference{Field: t.name + "[" + name + "]", Want: "none", Have: "a row"})
		}
	}
	return missing
}
