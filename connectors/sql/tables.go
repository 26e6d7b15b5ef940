package sql

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// table is one table of the config, as the code wants it.
type table struct {
	name    string
	dialect dialect
	columns []string
	// trees give the columns but those of the version and the time of the deletion,
	// whose indexes are version and deleted: 0 if the table has none.
	trees            []*connector.Tree
	version, deleted int
	// when is nil if the table takes every event.
	when *connector.Expr
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
	if !c.When.IsZero() {
		t.when = c.When
	}
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
		t.version, t.columns = len(t.columns), append(t.columns, c.VersionColumn)
	}
	if c.DeletedColumn != "" {
		t.deleted, t.columns = len(t.columns), append(t.columns, c.DeletedColumn)
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
		takes, err := t.takes(d.Event)
		if err != nil {
			return nil, err
		}
		if !takes {
			continue
		}
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

func (s *tableSet) commands(types columnsOf, admitted []admission) (commands []command, err error) {
	for len(admitted) > 0 {
		n := s.fold(admitted)
		if commands, err = s.appendFolded(commands, types, admitted[:n]); err != nil {
			return nil, err
		}
		admitted = admitted[n:]
	}
	return commands, nil
}

// fold returns how many of the deliveries may be written as one change of each
// table. A table that keeps deleted rows has to see all versions of a key: a row
// that came and went leaves a mark.
func (s *tableSet) fold(admitted []admission) int {
	if !slices.ContainsFunc(s.list, func(t *table) bool { return t.deleted > 0 }) {
		return len(admitted)
	}
	seen := map[string]bool{}
	for i, a := range admitted {
		if seen[a.delivery.Key] {
			return i
		}
		seen[a.delivery.Key] = true
	}
	return len(admitted)
}

func (s *tableSet) appendFolded(commands []command, types columnsOf, admitted []admission) ([]command, error) {
	changes := make([]tableChange, len(s.list))
	for i, t := range s.list {
		changes[i] = t.fold(i, admitted)
	}
	for i, t := range slices.Backward(s.list) {
		removals, err := t.remove(changes[i].removals)
		if err != nil {
			return nil, fmt.Errorf("delete from table %q: %w", t.name, err)
		}
		commands = append(commands, removals...)
	}
	for i, t := range s.list {
		key := t.keyColumns()
		others := slices.DeleteFunc(slices.Clone(t.columns), func(c string) bool { return slices.Contains(key, c) })
		commands = append(commands, t.insert(types[t], s.dialect.onCollision(key, others), changes[i].upserts)...)
	}
	return commands, nil
}

// tableChange is what several deliveries together do to a table: first the
// removals, then the upserts.
type tableChange struct {
	removals []removal
	upserts  [][]any
}

// removal is the rows that have the values of a key, and when they went.
type removal struct {
	key rowKey
	at  time.Time
}

// takes reports whether the table is for the event.
func (t *table) takes(e *event.Event) (bool, error) {
	if t.when == nil {
		return true, nil
	}
	v, err := t.when.Eval(connector.Scope{Event: e})
	return v == true, err
}

// remove deletes rows, or marks those as deleted that are not yet.
func (t *table) remove(removals []removal) ([]command, error) {
	does := fmt.Sprintf("delete from table %q", t.name)
	var commands []command
	if t.deleted == 0 {
		for part := range slices.Chunk(removals, maxAlternatives) {
			w := newWriter(t.dialect).text("DELETE FROM " + quoteTable(t.dialect, t.name) + " WHERE ")
			for i, r := range part {
				w.separate(i, " OR ").text("(").matches(r.key).text(")")
			}
			commands = append(commands, command{writer: w, does: does})
		}
		return commands, nil
	}
	mark := t.dialect.quote(t.columns[t.deleted])
	for _, r := range removals {
		at, err := t.dialect.scalar(r.at)
		if err != nil {
			return nil, err
		}
		w := newWriter(t.dialect).text("UPDATE " + quoteTable(t.dialect, t.name) + " SET " + mark + " = ").argument(at)
		commands = append(commands, command{writer: w.text(" WHERE " + mark + " IS NULL AND ").matches(r.key), does: does})
	}
	return commands, nil
}

// pendingRow is a row to write, with the number of its delivery in the batch.
type pendingRow struct {
	row
	order int
}

// fold makes one change of the deliveries, whose rows for this table are at the
// index i of their documents, such that it ends as if they were applied one by one.
func (t *table) fold(i int, admitted []admission) tableChange {
	removals := map[string]removal{}
	var pending []pendingRow
	gone := map[string]int{} // by policy key, up to which delivery its rows went again
	for order, a := range admitted {
		before, had := a.prior[t.name]
		after, has := a.document.keys[t.name]
		deletes := a.delivery.Op == connector.Delete
		if !deletes && !has {
			continue // not an event of this table
		}
		if had && (deletes || !maps.Equal(before, after)) {
			removals[before.text()] = removal{before, a.delivery.Event.Timestamp}
			gone[a.delivery.Key] = order
		}
		if has && (deletes || t.replace) {
			removals[after.text()] = removal{after, a.delivery.Event.Timestamp}
			gone[a.delivery.Key] = order
		}
		if deletes {
			continue
		}
		for _, r := range a.document.rows[i] {
			pending = append(pending, pendingRow{r, order})
		}
	}
	pending = slices.DeleteFunc(pending, func(r pendingRow) bool { return r.order < gone[admitted[r.order].delivery.Key] })
	// Both go in the order of their keys, so that two transactions never wait for
	// each other, and a row is written once: PostgreSQL refuses to touch it twice.
	var change tableChange
	for _, text := range slices.Sorted(maps.Keys(removals)) {
		change.removals = append(change.removals, removals[text])
	}
	slices.SortFunc(pending, func(a, b pendingRow) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(b.order, a.order))
	})
	for _, r := range slices.CompactFunc(pending, func(a, b pendingRow) bool { return a.key == b.key }) {
		change.upserts = append(change.upserts, r.values)
	}
	return change
}
