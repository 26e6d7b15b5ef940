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
	keys      rowKeys
}

func guardOf(d *connector.Delivery, keys rowKeys) guard {
	g := guard{
		deleted: d.Op == connector.Delete,
		topicID: d.Event.TopicID.String(), partition: d.Event.Partition, offset: d.Event.Offset,
	}
	if !g.deleted {
		g.keys = keys
		g.version = sql.NullInt64{Int64: d.Version.Value, Valid: d.Version.Known && !d.Version.ByOffset}
	}
	return g
}

// keep takes over where the rows are in the tables that the event is not for.
func (g *guard) keep(before guard) {
	if g.deleted || len(before.keys) == 0 {
		return
	}
	keys := maps.Clone(before.keys)
	maps.Copy(keys, g.keys)
	g.keys = keys
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

// readGuards adds the guards of the keys to held.
func (c *Connector) readGuards(ctx context.Context, q querier, keys []string, ending string, held map[string]guard) error {
	w := newWriter(c.dialect).text("SELECT " + quoteAll(c.dialect, append([]string{"key"}, guardValues...)) +
		" FROM " + guardTable + c.dialect.traits().byKey + " WHERE target = ").argument(c.target).text(" AND ")
	c.dialect.anyOf(w, "key", keys)
	w.text(" ORDER BY " + c.dialect.quote("key") + ending)
	rows, err := q.QueryContext(ctx, w.sql(), w.arguments...)
	if err != nil {
		return fmt.Errorf("read versions: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var g guard
		var key, rowKeys string
		if err := rows.Scan(&key, &g.version, &g.deleted, &g.topicID, &g.partition, &g.offset, &rowKeys); err != nil {
			return fmt.Errorf("read versions: %w", err)
		}
		if err := json.Unmarshal([]byte(rowKeys), &g.keys); err != nil {
			return connector.AsPermanent(fmt.Errorf("read row_keys of %q in %s: %w", key, guardTable, err))
		}
		held[key] = g
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read versions: %w", err)
	}
	return nil
}

// saveGuards writes the guards of the keys that changed, of which those in held are
// locked. It goes by key, so that two transactions never wait for each other.
func (c *Connector) saveGuards(ctx context.Context, tx *sql.Tx, types []string, held, changed map[string]guard) error {
	var created, updated [][]any
	for _, key := range slices.Sorted(maps.Keys(changed)) {
		row, err := c.guardRow(key, changed[key])
		if err != nil {
			return err
		}
		if _, locked := held[key]; locked {
			updated = append(updated, row)
		} else {
			created = append(created, row)
		}
	}
	n, err := c.guards.insert(ctx, tx, types, c.dialect.onCollision(guardKey, nil), created)
	if err == nil && n != int64(len(created)) {
		return errRaced
	}
	if err == nil {
		_, err = c.guards.insert(ctx, tx, types, c.dialect.onCollision(guardKey, guardValues), updated)
	}
	if err != nil {
		return fmt.Errorf("write versions: %w", err)
	}
	return nil
}

func (c *Connector) guardRow(key string, g guard) ([]any, error) {
	keys := []byte("{}")
	if g.keys != nil {
		var err error
		if keys, err = json.Marshal(g.keys); err != nil {
			return nil, connector.AsPermanent(fmt.Errorf("write row_keys of %q: %w", key, err))
		}
	}
	var version any
	if g.version.Valid {
		version = g.version.Int64
	}
	return []any{c.target, key, version, g.deleted, g.topicID, int64(g.partition), g.offset, string(keys)}, nil
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
	for part := range slices.Chunk(keys, maxArguments-1) {
		if err := c.readGuards(ctx, c.db, part, "", guards); err != nil {
			return nil, c.failure(ctx, err)
		}
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
