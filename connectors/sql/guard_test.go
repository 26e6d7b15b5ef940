package sql

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

func TestGuardAdmits(t *testing.T) {
	t.Parallel()
	upsert := func(version, offset int64) guard {
		return guard{version: sql.NullInt64{Int64: version, Valid: true}, topicID: "t", offset: offset}
	}
	byOffset := func(offset int64) guard { return guard{topicID: "t", offset: offset} }
	tombstone := func(offset int64) guard { return guard{topicID: "t", offset: offset, deleted: true} }
	elsewhere := func(g guard) guard { g.partition = 1; return g }
	recreated := func(g guard) guard { g.topicID = "another"; return g }
	for _, c := range []struct {
		name       string
		held, next guard
		want       bool
	}{
		{"a newer version", upsert(1, 10), upsert(2, 20), true},
		{"the same version again", upsert(2, 20), upsert(2, 20), true},
		{"an older version", upsert(2, 20), upsert(1, 10), false},
		{"an older version from another partition", upsert(2, 20), elsewhere(upsert(1, 10)), false},
		{"a newer version with a lower offset elsewhere", upsert(2, 20), elsewhere(upsert(3, 5)), true},
		{"a higher offset", byOffset(10), byOffset(11), true},
		{"the same offset", byOffset(10), byOffset(10), true},
		{"a lower offset", byOffset(10), byOffset(9), false},
		{"a lower offset of another partition", byOffset(10), elsewhere(byOffset(9)), true},
		{"a lower offset of another topic", byOffset(10), recreated(byOffset(9)), true},
		{"offsets once versions were", upsert(7, 10), byOffset(9), false},
		{"a later tombstone", upsert(7, 10), tombstone(11), true},
		{"an earlier tombstone", upsert(7, 10), tombstone(9), false},
		{"a tombstone elsewhere", upsert(7, 10), elsewhere(tombstone(9)), true},
		{"the same tombstone again", tombstone(10), tombstone(10), true},
		{"an earlier tombstone over a later", tombstone(10), tombstone(9), false},
		{"an upsert after a tombstone", tombstone(10), upsert(1, 11), true},
		{"an upsert at the tombstone", tombstone(10), upsert(9, 10), false},
		{"an upsert before the tombstone", tombstone(10), upsert(9, 9), false},
		{"an upsert elsewhere after a tombstone", tombstone(10), elsewhere(upsert(9, 9)), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, c.held.admits(c.next))
		})
	}
}

// history draws records of two keys in the order in which they were written.
func history(t *rapid.T) []change {
	byOffset := rapid.Bool().Draw(t, "versions are offsets")
	versions := map[string]int64{}
	records := make([]change, rapid.IntRange(1, 12).Draw(t, "records"))
	for i := range records {
		c := change{key: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), offset: int64(10 + i), byOffset: byOffset}
		if c.deleted = rapid.IntRange(0, 3).Draw(t, "tombstone if 0") == 0; !c.deleted {
			versions[c.key]++
			c.version = versions[c.key]
			c.fields = object("id", rowID(t, c.key), "title", fmt.Sprintf("written at %d", c.offset), "rules", drawRules(t, c.offset))
		}
		records[i] = c
	}
	return records
}

// rowID draws the key of the row: a policy may move from one row to another.
func rowID(t *rapid.T, key string) string {
	return key + rapid.SampledFrom([]string{"", "", "", "/moved"}).Draw(t, "row")
}

func drawRules(t *rapid.T, offset int64) []any {
	var rules []any
	for no := range rapid.IntRange(0, 3).Draw(t, "rules") {
		rules = append(rules, object("no", int64(no), "text", fmt.Sprintf("rule %d of %d", no, offset)))
	}
	return rules
}

// TestArrivalOrderChangesNothing delivers a history in any order and with repeats,
// in batches to one database and one by one to another: both must answer alike and
// hold the same, which for each key is what its newest record says.
func TestArrivalOrderChangesNothing(t *testing.T) {
	t.Parallel()
	marked, some := rules("marked", true), rules("some", true)
	marked.Value.DeletedColumn = "deleted_at"
	some.Value.When = &connector.Expr{Source: "event.even", Program: program(func(s connector.Scope) (any, error) {
		return s.Event.Offset%2 == 0, nil
	})}
	tables := []connector.Named[Table]{policies(), rules("replaced", true), rules("kept", false), marked, some}
	rapid.Check(t, func(rt *rapid.T) {
		batchDSN, batchDB := database(t, 0)
		singleDSN, singleDB := database(t, 0)
		batched := newConnector(t, Config{DSN: batchDSN, Tables: tables, Schema: schemaCreate})
		single := newConnector(t, Config{DSN: singleDSN, Tables: tables, Schema: schemaCreate})
		defer batched.Close(t.Context())
		defer single.Close(t.Context())

		records := history(rt)
		arrivals := rapid.Permutation(records).Draw(rt, "arrivals")
		arrivals = append(arrivals, rapid.SliceOfN(rapid.SampledFrom(records), 0, 5).Draw(rt, "repeats")...)
		for len(arrivals) > 0 {
			n := rapid.IntRange(1, len(arrivals)).Draw(rt, "batch")
			var batch []*connector.Delivery
			for _, a := range arrivals[:n] {
				batch = append(batch, prepared(rt, batched, a))
			}
			for i, r := range batched.PushBatch(t.Context(), batch) {
				receipt, err := single.Push(t.Context(), prepared(rt, single, arrivals[i]))
				require.NoError(rt, err)
				require.NoError(rt, r.Err)
				require.Equal(rt, receipt, r.Receipt)
			}
			arrivals = arrivals[n:]
		}

		newest := map[string]change{}
		for _, r := range records {
			newest[r.key] = r
		}
		var wantPolicies, wantRules []string
		for _, key := range []string{"a", "b"} {
			c, written := newest[key]
			if !written || c.deleted {
				continue
			}
			id, _ := c.fields.Get("id")
			title, _ := c.fields.Get("title")
			version := c.version
			if c.byOffset {
				version = c.offset
			}
			wantPolicies = append(wantPolicies, fmt.Sprint(id, " ", title, " ", version))
			list, _ := c.fields.Get("rules")
			for _, rule := range list.([]any) {
				text, _ := rule.(*event.Object).Get("text")
				wantRules = append(wantRules, fmt.Sprint(id, " ", text))
			}
		}
		require.Empty(rt, cmp.Diff(wantPolicies, dump(t, batchDB, `SELECT id, title, version FROM policies ORDER BY id`)), "(-want +got)")
		require.Empty(rt, cmp.Diff(wantRules, dump(t, batchDB, `SELECT policy_id, text FROM replaced ORDER BY policy_id, no`)), "(-want +got)")
		require.Empty(rt, cmp.Diff(wantRules, dump(t, batchDB, `SELECT policy_id, text FROM marked WHERE deleted_at IS NULL ORDER BY policy_id, no`)), "(-want +got)")
		for _, query := range []string{
			`SELECT id, title, version FROM policies ORDER BY id`, `SELECT policy_id, no, text FROM replaced ORDER BY policy_id, no`,
			`SELECT policy_id, no, text FROM kept ORDER BY policy_id, no`,
			`SELECT policy_id, no, text, deleted_at FROM marked ORDER BY policy_id, no`, `SELECT policy_id, no, text FROM some ORDER BY policy_id, no`,
			`SELECT key, version, deleted, topic_id, partition, "offset", row_keys FROM policysync_versions ORDER BY key`,
		} {
			require.Empty(rt, cmp.Diff(dump(t, singleDB, query), dump(t, batchDB, query)), "%s (-single +batch)", query)
		}
	})
}

func TestTombstoneWithoutEventFindsRows(t *testing.T) {
	t.Parallel()
	dsn, db := database(t, 0)
	exec(t, db, `CREATE TABLE policies (id TEXT PRIMARY KEY, title TEXT)`, `INSERT INTO policies VALUES ('old', 'loaded by hand'), ('kept', '')`)
	c := newConnector(t, Config{DSN: dsn, Tables: []connector.Named[Table]{{Name: "policies", Value: Table{
		Key: []string{"id"}, Map: columns("id", path("key", event.String), "title", path("event.title", event.String)),
	}}}})
	t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
	_, err := c.Push(t.Context(), prepared(t, c, change{key: "old", offset: 1, deleted: true}))
	require.NoError(t, err)
	require.Equal(t, []string{"kept "}, dump(t, db, `SELECT id, title FROM policies`))
}
