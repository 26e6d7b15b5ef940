package sql

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"github.com/hms-sme/policysync/pkg/connector"
)

// table is one table of the config, as the code wants it.
type table struct {
	name    string
	dialect dialect
	columns []string
	// trees give the columns, except the last one if the table is versioned.
	trees     []*connector.Tree
	versioned bool
	// key are the indexes of the columns that identify a row, own those of them
	// that do not depend on the item of each.
	key, own []int
	each     *connector.Expr
	as       string
	replace  bool
	// exact is set if two keys that differ in any byte are two.
	exact bool
}

// tableSet writes the rows of several tables.
type tableSet struct {
	dialect dialect
	list    []*table
}

func newTables(d dialect, config []connector.Named[Table]) *tableSet {
	s := &tableSet{dialect: d}
	for i := range config {
		s.list = append(s.list, newTable(d, config[i].Name, &config[i].Value))
	}
	return s
}

func newTable(d dialect, name string, c *Table) *table {
	t := &table{name: name, dialect: d, replace: c.Replace}
	t.each, t.as = c.Loop()
	for _, f := range c.Map.Fields {
		t.columns = append(t.columns, f.Name)
		t.trees = append(t.trees, f.Tree)
	}
	for _, k := range c.Key {
		i := slices.Index(t.columns, k)
		t.key = append(t.key, i)
		if t.each == nil || !dependsOn(t.trees[i], t.as) {
			t.own = append(t.own, i)
		}
	}
	if c.VersionColumn != "" {
		t.columns, t.versioned = append(t.columns, c.VersionColumn), true
	}
	return t
}

// keyColumns returns the names of the columns that identify a row.
func (t *table) keyColumns() []string {
	names := make([]string, len(t.key))
	for i, k := range t.key {
		names[i] = t.columns[k]
	}
	return names
}

func (s *tableSet) tables() []*table { return s.list }

func (s *tableSet) document(d *connector.Delivery) (*document, error) {
	doc := &document{tables: s.list, keys: make(rowKeys, len(s.list))}
	if d.Op == connector.Delete {
		return doc, s.tombstone(d, doc.keys)
	}
	doc.rows = make([][]row, len(s.list))
	for i, t := range s.list {
		rows, own, err := t.rowsOf(d)
		if err != nil {
			return nil, fmt.Errorf("make rows of table %q: %w", t.name, err)
		}
		doc.rows[i], doc.keys[t.name] = rows, own
	}
	return doc, nil
}

// tombstone adds the keys that are known without an event, so that rows go that
// policysync never wrote.
func (s *tableSet) tombstone(d *connector.Delivery, keys rowKeys) error {
	for _, t := range s.list {
		if slices.ContainsFunc(t.own, func(i int) bool { return usesEvent(t.trees[i]) }) {
			continue
		}
		own, err := t.ownKey(connector.Scope{Event: d.Event})
		if err != nil {
			return fmt.Errorf("find rows of table %q: %w", t.name, err)
		}
		keys[t.name] = own
	}
	return nil
}

func (s *tableSet) write(ctx context.Context, tx *sql.Tx, admitted []admission) error {
	changes := make([]tableChange, len(s.list))
	for i, t := range s.list {
		changes[i] = t.fold(i, admitted)
	}
	for i, t := range slices.Backward(s.list) {
		if err := deleteRows(ctx, tx, s.dialect, t.name, changes[i].deletes); err != nil {
			return fmt.Errorf("delete from table %q: %w", t.name, err)
		}
	}
	for i, t := range s.list {
		key := t.keyColumns()
		others := slices.DeleteFunc(slices.Clone(t.columns), func(c string) bool { return slices.Contains(key, c) })
		if err := insert(ctx, tx, s.dialect, t.name, t.columns, s.dialect.onCollision(key, others), changes[i].upserts); err != nil {
			return fmt.Errorf("write to table %q: %w", t.name, err)
		}
	}
	return nil
}

// tableChange is what several deliveries together do to a table: first the
// deletes, then the upserts.
type tableChange struct {
	deletes []rowKey
	upserts [][]any
}

// pendingRow is a row to write, with the number of its delivery in the batch.
type pendingRow struct {
	row
	order int
}

// fold makes one change of the deliveries, whose rows for this table are at the
// index i of their documents, such that it ends as if they were applied one by one.
func (t *table) fold(i int, admitted []admission) tableChange {
	deletes := map[string]rowKey{}
	pending := map[string][]pendingRow{} // by policy key
	for order, a := range admitted {
		before, had := a.prior[t.name]
		after, has := a.document.keys[t.name]
		gone := a.delivery.Op == connector.Delete
		if had && (gone || !maps.Equal(before, after)) {
			deletes[before.text()] = before
			delete(pending, a.delivery.Key)
		}
		if has && (gone || t.replace) {
			deletes[after.text()] = after
			delete(pending, a.delivery.Key)
		}
		if gone {
			continue
		}
		for _, r := range a.document.rows[i] {
			pending[a.delivery.Key] = append(pending[a.delivery.Key], pendingRow{r, order})
		}
	}
	// Both go in the order of their keys, so that two transactions never wait for
	// each other, and a row is written once: PostgreSQL refuses to touch it twice.
	var change tableChange
	for _, text := range slices.Sorted(maps.Keys(deletes)) {
		change.deletes = append(change.deletes, deletes[text])
	}
	rows := slices.Concat(slices.Collect(maps.Values(pending))...)
	slices.SortFunc(rows, func(a, b pendingRow) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(b.order, a.order))
	})
	for _, r := range slices.CompactFunc(rows, func(a, b pendingRow) bool { return a.key == b.key }) {
		change.upserts = append(change.upserts, r.values)
	}
	return change
}
