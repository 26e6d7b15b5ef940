package warehouse

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// change is one delivery of a drawn history, and when it last arrived.
type change struct {
	key      string
	topicID  byte
	offset   int64
	version  int64
	byOffset bool
	deleted  bool
	title    string
	arrived  int
}

func (c change) delivery() *connector.Delivery {
	d := upsert(&event.Object{Names: []string{"title", "version"}, Values: []any{c.title, c.version}})
	d.Key, d.Event.TopicID, d.Event.Offset = c.key, event.TopicID{c.topicID}, c.offset
	d.Version = connector.Version{Value: c.version, Known: true, ByOffset: c.byOffset}
	if c.deleted {
		d.Op, d.Event.Value, d.Event.Record.Value = connector.Delete, nil, nil
		d.Version = connector.Version{Value: c.offset, Known: c.byOffset, ByOffset: c.byOffset}
	}
	return d
}

// guard says, in the words of the version rules, whether next may replace held.
func guard(held, next change) bool {
	sameLog := held.topicID == next.topicID
	switch {
	case held.deleted && !next.deleted:
		return !sameLog || next.offset > held.offset
	case held.deleted || next.deleted || held.byOffset:
		return !sameLog || next.offset >= held.offset
	}
	return next.version >= held.version
}

// newest is the naive model of the view: a guarded upsert of each log in its own
// order, then of what the logs ended in, in the order of arrival.
func newest(history []change) map[string]string {
	fold := func(changes []change, less func(a, b change) int, id func(change) string) []change {
		held := map[string]change{}
		for _, c := range slices.SortedFunc(slices.Values(changes), less) {
			if h, ok := held[id(c)]; !ok || guard(h, c) {
				held[id(c)] = c
			}
		}
		var left []change
		for _, c := range held {
			left = append(left, c)
		}
		return left
	}
	tips := fold(history, func(a, b change) int { return cmp.Compare(a.offset, b.offset) },
		func(c change) string { return fmt.Sprint(c.key, c.topicID) })
	live := map[string]string{}
	for _, c := range fold(tips, func(a, b change) int { return cmp.Compare(a.arrived, b.arrived) },
		func(c change) string { return c.key }) {
		if !c.deleted {
			live[c.key] = c.title
		}
	}
	return live
}

// drawHistory draws the changes of a few keys in up to three logs, and the order in
// which they arrive: late, repeated, and again after the mapping was mended.
func drawHistory(t *rapid.T) (history []change, batches [][]change) {
	byOffset := rapid.Bool().Draw(t, "versions are offsets")
	logs := rapid.IntRange(1, 3).Draw(t, "logs")
	for offset := range rapid.Int64Range(1, 12).Draw(t, "changes") {
		c := change{
			key:      rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"),
			topicID:  byte(rapid.IntRange(1, logs).Draw(t, "log")),
			offset:   offset,
			version:  rapid.Int64Range(1, 4).Draw(t, "version"),
			byOffset: byOffset,
			deleted:  rapid.IntRange(0, 3).Draw(t, "deleted") == 0,
		}
		if byOffset {
			c.version = offset
		}
		history = append(history, c)
	}
	arrivals := rapid.Permutation(append(rapid.SliceOf(rapid.IntRange(0, len(history)-1)).Draw(t, "repeats"),
		slices.Collect(func(yield func(int) bool) {
			for i := range history {
				if !yield(i) {
					return
				}
			}
		})...)).Draw(t, "arrivals")
	batches = [][]change{nil}
	for at, i := range arrivals {
		c := &history[i]
		c.arrived, c.title = at, fmt.Sprintf("%s, mapping %d", c.key, at)
		batches[len(batches)-1] = append(batches[len(batches)-1], *c)
		if rapid.Bool().Draw(t, "batch ends") {
			batches = append(batches, nil)
		}
	}
	return history, batches
}

// pushAll pushes the batches, each prepared as the engine does.
func pushAll(ctx context.Context, t require.TestingT, w *Warehouse, batches [][]change) {
	for _, batch := range batches {
		ds := make([]*connector.Delivery, len(batch))
		for i, c := range batch {
			ds[i] = c.delivery()
			require.NoError(t, w.Prepare(ds[i]))
		}
		for _, r := range w.PushBatch(ctx, ds) {
			require.NoError(t, r.Err)
		}
	}
}

// latestIsTheGuardsAnswer draws histories and pushes them to an engine that forgets;
// open gives a way to ask it.
func latestIsTheGuardsAnswer(t *testing.T, dsn string, open func(*Warehouse) *sql.DB) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		history, batches := drawHistory(t)
		cfg := &Config{DSN: connector.NewSecret(dsn), Map: recordColumns(), Schema: schemaCreate}
		w, err := New(cfg, connector.Env{Target: "dataWarehouse", Timeout: time.Minute})
		require.NoError(t, err)
		defer func() { require.NoError(t, w.Close(context.Background())) }()
		pushAll(t.Context(), t, w, batches)

		db := open(w)
		var rows int
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM data_warehouse").Scan(&rows))
		require.Equal(t, len(history), rows, "a repeat is no second row")
		require.Empty(t, diff.Diff(newest(history), titles(t, db, "SELECT _key, title FROM data_warehouse_latest")))
	})
}

// titles asks for keys with their titles.
func titles(t require.TestingT, db *sql.DB, query string) map[string]string {
	found, err := db.Query(query)
	require.NoError(t, err)
	defer func() { require.NoError(t, found.Close()) }()
	got := map[string]string{}
	for found.Next() {
		var key, title string
		require.NoError(t, found.Scan(&key, &title))
		require.NotContains(t, got, key, "a key is in the view once")
		got[key] = title
	}
	require.NoError(t, found.Err())
	return got
}

func TestSQLiteLatest(t *testing.T) {
	t.Parallel()
	latestIsTheGuardsAnswer(t, "sqlite://:memory:", func(w *Warehouse) *sql.DB { return w.engine.(*sqliteEngine).db })
}
