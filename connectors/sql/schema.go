package sql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Check implements [connector.Checker]: can the database be reached, are we let
// in, do the tables have the columns and the keys that the config names. A table
// that the first push would create may be missing.
func (c *Connector) Check(ctx context.Context) error {
	ctx, cancel := c.bind(ctx)
	defer cancel()
	if _, err := c.missingTables(ctx); err != nil {
		return c.failure(ctx, err)
	}
	return nil
}

// fitTables makes the missing tables that are ours to make and checks the others,
// until all fit.
func (c *Connector) fitTables(ctx context.Context) error {
	if c.ready.Load() {
		return nil
	}
	missing, err := c.missingTables(ctx)
	if err != nil {
		return err
	}
	for _, t := range missing {
		if err := c.createTable(ctx, t); err != nil {
			return err
		}
	}
	c.ready.Store(true)
	return nil
}

// missingTables returns the tables that are to be created. Its error names all
// that does not fit; it is permanent, since no attempt cures it.
func (c *Connector) missingTables(ctx context.Context) ([]*table, error) {
	guards := newGuardTable(c.dialect)
	var missing []*table
	var faults []string
	for _, t := range append([]*table{guards}, c.shape.tables()...) {
		exists, faultsOf, err := c.compareTable(ctx, t)
		switch {
		case err != nil:
			return nil, fmt.Errorf("describe table %q: %w", t.name, err)
		case exists:
			faults = append(faults, faultsOf...)
		case c.createTables || t == guards:
			missing = append(missing, t)
		default:
			faults = append(faults, fmt.Sprintf("table %q does not exist", t.name))
		}
	}
	if faults != nil {
		return nil, connector.AsPermanent(fmt.Errorf("check tables: %s", strings.Join(faults, "; ")))
	}
	return missing, nil
}

// createTable creates a table, or lets another member of the group have done it.
func (c *Connector) createTable(ctx context.Context, t *table) error {
	ddl := t.definition()
	_, err := c.db.ExecContext(ctx, ddl)
	if err == nil {
		c.log.InfoContext(ctx, "created table", "table", t.name)
		return nil
	}
	if exists, faults, again := c.compareTable(ctx, t); exists && faults == nil && again == nil {
		return nil
	}
	return fmt.Errorf("create table %q: %w; create it with: %s", t.name, err, ddl)
}

// compareTable compares a table of the database with the config.
func (c *Connector) compareTable(ctx context.Context, t *table) (exists bool, faults []string, err error) {
	schema, name := splitTable(t.name)
	columns, indexes, args := c.dialect.describe(schema, name)
	groups, err := c.readGroups(ctx, columns, args)
	if err != nil || len(groups) == 0 {
		return false, nil, err
	}
	same := func(want string) func(string) bool {
		return func(have string) bool {
			return have == want || c.dialect.traits().foldsCase && strings.EqualFold(have, want)
		}
	}
	for _, want := range t.columns {
		if !slices.ContainsFunc(groups[""], same(want)) {
			faults = append(faults, fmt.Sprintf("table %q has no column %q", t.name, want))
		}
	}
	if groups, err = c.readGroups(ctx, indexes, args); err != nil {
		return false, nil, err
	}
	key := t.keyColumns()
	for _, index := range groups {
		lacks := func(column string) bool { return !slices.ContainsFunc(index, same(column)) }
		if len(index) == len(key) && !slices.ContainsFunc(key, lacks) {
			return true, faults, nil
		}
	}
	return true, append(faults, fmt.Sprintf("table %q has no primary key or unique index on exactly %q", t.name, key)), nil
}

// readGroups reads pairs of a group and a column.
func (c *Connector) readGroups(ctx context.Context, query string, args []any) (map[string][]string, error) {
	rows, err := c.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	groups := map[string][]string{}
	for rows.Next() {
		var group, column string
		if err := rows.Scan(&group, &column); err != nil {
			return nil, err
		}
		groups[group] = append(groups[group], column)
	}
	return groups, rows.Err()
}
