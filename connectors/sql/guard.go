package sql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// guard is what policysync_versions holds for one key: the version that the
// database has, and where its record lies. It outlives a delete.
type guard struct {
	// version is not valid on a tombstone and where versions are offsets.
	version   sql.NullInt64
	deleted   bool
	topicID   string
	partition int32
	offset    int64
	// rows is the text of the row keys; empty for a guard that does not exist.
	rows string
}

func guardOf(d *connector.Delivery) guard {
	g := guard{
		deleted: d.Op == connector.Delete,
		topicID: d.Event.TopicID.String(), partition: d.Event.Partition, offset: d.Event.Offset,
	}
	if !g.deleted {
		g.version = sql.NullInt64{Int64: d.Version.Value, Valid: d.Version.Known && !d.Version.ByOffset}
	}
	return g
}

// keys returns the row keys. Mostly they are those of the document, which need no
// reading.
func (g guard) keys(doc *document) (rowKeys, error) {
	if g.rows == doc.keysText {
		return doc.keys, nil
	}
	if g.rows == "" {
		return nil, nil
	}
	var keys rowKeys
	if err := json.Unmarshal([]byte(g.rows), &keys); err != nil {
		return nil, connector.AsPermanent(fmt.Errorf("read row_keys in %s: %w", guardTable, err))
	}
	return keys, nil
}

// place sets the row keys to those of the document, and to prior for the tables that
// the event is not for.
func (g *guard) place(doc *document, prior rowKeys) (err error) {
	if g.deleted {
		g.rows = "{}"
		return nil
	}
	g.rows = doc.keysText
	var keys rowKeys
	for table, key := range prior {
		if _, has := doc.keys[table]; has {
			continue
		}
		if keys == nil {
			keys = maps.Clone(doc.keys)
		}
		keys[table] = key
	}
	if keys != nil {
		g.rows, err = keys.text()
	}
	return err
}

// admits reports whether next may be written over g. Equal is enough, so that a
// replay with a mended mapping takes effect, except over a tombstone: the same
// record is never both. Offsets tell nothing across partitions, or across two
// topics of one name; then next is written.
func (g guard) admits(next guard) bool {
	switch {
	case !g.deleted && !next.deleted && g.version.Valid && next.version.Valid:
		return next.version.Int64 >= g.version.Int64
	case g.topicID != next.topicID || g.partition != next.partition:
		return true
	case g.deleted && !next.deleted:
		return next.offset > g.offset
	}
	return next.offset >= g.offset
}

var (
	guardKey    = []string{"target", "key"}
	guardValues = []string{"version", "deleted", "topic_id", "partition", "offset", "row_keys"}
)

const guardTable = "policysync_versions"

// newGuardTable describes the table of the guards.
func newGuardTable(d dialect) *table {
	t := &table{name: guardTable, dialect: d, columns: slices.Concat(guardKey, guardValues), key: []int{0, 1}, exact: true}
	for _, kind := range []event.Kind{
		event.String, event.String, event.Long, event.Boolean, event.String, event.Long, event.Long, event.String,
	} {
		t.trees = append(t.trees, &connector.Tree{Expr: &connector.Expr{Type: &event.Type{Kind: kind}}})
	}
	return t
}

// errRaced means that another transaction made the guard of a key that had none: a
// row that does not exist can't be locked.
var errRaced = errors.New("another member has written the same policy")

// querier is what a database and a transaction share.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// guardQuery selects the guards of the keys, which are sorted if it locks them.
func (c *Connector) guardQuery(keys []string, lock bool) *writer {
	w := newWriter(c.dialect)
	c.dialect.guards(w, quoteAll(c.dialect, append([]string{"key"}, guardValues...)), c.target, keys, lock)
	return w
}

// scanGuards adds the guards that guardQuery has found to held.
func scanGuards(rows scanner, held map[string]guard) error {
	for rows.Next() {
		var g guard
		var key string
		if err := rows.Scan(&key, &g.version, &g.deleted, &g.topicID, &g.partition, &g.offset, &g.rows); err != nil {
			return err
		}
		held[key] = g
	}
	return rows.Err()
}

// readGuards adds the guards of the keys to held, and locks nothing.
func (c *Connector) readGuards(ctx context.Context, q querier, keys []string, held map[string]guard) error {
	for part := range slices.Chunk(keys, maxArguments-1) {
		err := readRows(ctx, q, c.guardQuery(part, false), func(rows scanner) error { return scanGuards(rows, held) })
		if err != nil {
			return fmt.Errorf("read versions: %w", err)
		}
	}
	return nil
}

// saveGuards writes the guards of the keys that changed, of which those in held are
// locked. It goes by key, so that two transactions never wait for each other.
func (c *Connector) saveGuards(types []string, held, changed map[string]guard) []command {
	var created, updated [][]any
	for _, key := range slices.Sorted(maps.Keys(changed)) {
		row := c.guardRow(key, changed[key])
		if _, locked := held[key]; locked {
			updated = append(updated, row)
		} else {
			created = append(created, row)
		}
	}
	commands := c.guards.insert(types, c.dialect.onCollision(guardKey, nil), created)
	for i := range commands {
		commands[i].onlyNew = true
	}
	commands = append(commands, c.guards.insert(types, c.dialect.onCollision(guardKey, guardValues), updated)...)
	for i := range commands {
		commands[i].does = "write versions"
	}
	return commands
}

func (c *Connector) guardRow(key string, g guard) []any {
	var version any
	if g.version.Valid {
		version = g.version.Int64
	}
	return []any{c.target, key, version, g.deleted, g.topicID, int64(g.partition), g.offset, g.rows}
}

// Inspect implements [connector.Inspector]. It knows versions, not rows: those may
// have changed since by other hands.
func (c *Connector) Inspect(ctx context.Context, keys []string) ([]connector.Held, error) {
	ctx, cancel := c.bind(ctx)
	defer cancel()
	faults, _, err := c.compareTable(ctx, c.guards)
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	if slices.ContainsFunc(faults, func(f fault) bool { return f.kind == schemaCreate }) {
		return nil, nil // nothing was pushed yet
	}
	guards := make(map[string]guard, len(keys))
	if err := c.readGuards(ctx, c.db, keys, guards); err != nil {
		return nil, c.failure(ctx, err)
	}
	held := make([]connector.Held, 0, len(guards))
	for key, g := range guards {
		if g.deleted {
			continue
		}
		version := g.offset
		if g.version.Valid {
			version = g.version.Int64
		}
		held = append(held, connector.Held{Key: key, Version: version})
	}
	return held, nil
}
