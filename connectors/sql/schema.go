package sql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
)

// The values of the schema option.
const (
	schemaCheck  = "check"
	schemaCreate = "create"
	schemaEvolve = "evolve"
)

// fault is what does not fit between a table and the config.
type fault struct {
	table *table
	text  string
	// cure is a statement that mends it, empty if none does that loses nothing.
	cure string
	// kind says which value of the schema option lets the connector run the cure;
	// empty: none does.
	kind string
}

func (f fault) String() string {
	if f.cure == "" {
		return f.text
	}
	return f.text + ": " + f.cure
}

// Check implements [connector.Checker]: can the database be reached, are we let
// in, do the tables have the columns, types and keys that the config wants. What
// the first push would mend is no error.
func (c *Connector) Check(ctx context.Context) error {
	ctx, cancel := c.bind(ctx)
	defer cancel()
	if _, err := c.fitting(ctx); err != nil {
		return c.failure(ctx, err)
	}
	return nil
}

// fitting returns the types of the tables' columns if all fit, or would after the first
// push: a table that it would make has none, a column that it would add an empty one.
func (c *Connector) fitting(ctx context.Context) (columnsOf, error) {
	faults, types, err := c.faults(ctx)
	if err != nil {
		return nil, err
	}
	return types, c.unmended(faults)
}

// fitTables makes the tables fit as far as the config lets us, until all do, and
// returns the types of their columns.
func (c *Connector) fitTables(ctx context.Context) (columnsOf, error) {
	if types := c.fitted.Load(); types != nil {
		return *types, nil
	}
	for {
		faults, types, err := c.faults(ctx)
		if err != nil {
			return nil, err
		}
		if len(faults) == 0 {
			c.fitted.Store(&types)
			return types, nil
		}
		if err := c.unmended(faults); err != nil {
			return nil, err
		}
		for _, f := range faults {
			if err := c.mend(ctx, f); err != nil {
				return nil, err
			}
		}
	}
}

// mends reports whether the connector may run the cure. The table of the guards is
// its own.
func (c *Connector) mends(f fault) bool {
	switch f.kind {
	case schemaCreate:
		return c.schema == schemaCreate || c.schema == schemaEvolve || f.table.name == guardTable
	case schemaEvolve:
		return c.schema == schemaEvolve
	}
	return false
}

// unmended returns an error that names all faults that are not ours to mend. It
// holds the target: the table or the config is wrong, not the policy.
func (c *Connector) unmended(faults []fault) error {
	var left []string
	for _, f := range faults {
		if !c.mends(f) {
			left = append(left, f.String())
		}
	}
	if left == nil {
		return nil
	}
	return connector.AsUnavailable(fmt.Errorf("check tables: %s", strings.Join(left, "; ")))
}

// mend runs a cure, or lets another member of the group have done it.
func (c *Connector) mend(ctx context.Context, f fault) error {
	_, err := c.db.ExecContext(ctx, f.cure)
	if err == nil {
		c.log.InfoContext(ctx, "changed the database's schema", "table", f.table.name, "statement", f.cure)
		return nil
	}
	if faults, _, again := c.compareTable(ctx, f.table); again == nil && !slices.Contains(faults, f) {
		return nil
	}
	return fmt.Errorf("change schema: %s: %w; run it yourself: %s", f.text, err, f.cure)
}

// faults compares all tables with the config.
func (c *Connector) faults(ctx context.Context) ([]fault, columnsOf, error) {
	var faults []fault
	types := columnsOf{}
	for _, t := range append([]*table{c.guards}, c.shape.tables()...) {
		found, of, err := c.compareTable(ctx, t)
		if err != nil {
			return nil, nil, fmt.Errorf("describe table %q: %w", t.name, err)
		}
		faults, types[t] = append(faults, found...), of
	}
	return faults, types, nil
}

// compareTable compares a table of the database with the config, and returns the
// types of the columns that it has.
func (c *Connector) compareTable(ctx context.Context, t *table) ([]fault, []string, error) {
	columns, indexes, args := c.dialect.describe(splitTable(t.name))
	have, err := c.readPairs(ctx, columns, args)
	if err != nil {
		return nil, nil, err
	}
	if len(have) == 0 {
		return []fault{{t, fmt.Sprintf("table %q does not exist", t.name), t.definition(), schemaCreate}}, nil, nil
	}
	var faults []fault
	types := make([]string, len(t.columns))
	for i, name := range t.columns {
		found := slices.IndexFunc(have, func(h [2]string) bool { return c.same(h[0], name) })
		if found < 0 {
			faults = append(faults, t.missing(i))
			continue
		}
		types[i] = have[found][1]
		if f, ok := t.misfit(i, parseType(types[i])); ok {
			faults = append(faults, f)
		}
	}
	pairs, err := c.readPairs(ctx, indexes, args)
	if err != nil {
		return nil, nil, err
	}
	key := t.keyColumns()
	if !c.unique(pairs, key) {
		faults = append(faults, fault{t, fmt.Sprintf("table %q has no primary key or unique index on exactly %q", t.name, key), "", ""})
	}
	return faults, types, nil
}

// same reports whether two names are one column.
func (c *Connector) same(a, b string) bool {
	return a == b || c.dialect.traits().foldsCase && strings.EqualFold(a, b)
}

// unique reports whether one of the indexes, given as pairs of an index and a
// column, is on exactly the columns of key.
func (c *Connector) unique(pairs [][2]string, key []string) bool {
	indexes := map[string][]string{}
	for _, p := range pairs {
		indexes[p[0]] = append(indexes[p[0]], p[1])
	}
	for _, index := range indexes {
		lacks := func(column string) bool {
			return !slices.ContainsFunc(index, func(have string) bool { return c.same(have, column) })
		}
		if len(index) == len(key) && !slices.ContainsFunc(key, lacks) {
			return true
		}
	}
	return false
}

// readPairs reads rows of two texts.
func (c *Connector) readPairs(ctx context.Context, query string, args []any) ([][2]string, error) {
	rows, err := c.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var pairs [][2]string
	for rows.Next() {
		var p [2]string
		if err := rows.Scan(&p[0], &p[1]); err != nil {
			return nil, err
		}
		pairs = append(pairs, p)
	}
	return pairs, rows.Err()
}
