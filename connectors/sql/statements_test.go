package sql

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

func TestParseStatement(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		`CALL put_policy(:id, :title_2)`:               {"id", "title_2"},
		`SELECT :id::text, x::int, :id`:                {"id", "id"},
		`SELECT ':no', "a:no", 'it''s :no', :yes`:      {"yes"},
		"SELECT `:no`, :yes -- :no\n, :also /* :no */": {"yes", "also"},
		`DO $$ :no $$; SELECT $tag$ :no $$ $tag$ :a`:   {"a"},
		`SELECT a[1:2], b := :c, $1`:                   {"c"},
		`SELECT 'open :no`:                             nil,
	} {
		require.Equal(t, want, parseStatement(text).parameters, text)
	}
}

func FuzzParseStatement(f *testing.F) {
	f.Add(`CALL put_policy(:id, ':title', "x"::text) -- :no`)
	f.Add("$a$:b$a$ /* :c */ `:d` :e")
	f.Fuzz(func(t *testing.T, text string) {
		s := parseStatement(text)
		var again strings.Builder
		for i, p := range s.parameters {
			again.WriteString(s.texts[i] + ":" + p)
		}
		again.WriteString(s.texts[len(s.parameters)])
		require.Equal(t, text, again.String(), "nothing is lost")
	})
}

func TestStatements(t *testing.T) {
	t.Parallel()
	dsn, db := database(t, 0)
	exec(t, db, `CREATE TABLE policies (id TEXT PRIMARY KEY, title TEXT, version INTEGER, by TEXT)`, `CREATE TABLE gone (id TEXT, who TEXT)`)
	c := newConnector(t, Config{
		DSN: dsn, Map: columns("id", path("event.id", event.String), "title", path("event.title", event.String), "who", path("key", "")),
		Statement: &Statement{
			Upsert: `INSERT INTO policies VALUES (:id, :title, :version, ':key=' || :key) ON CONFLICT (id) DO UPDATE SET title = :title, version = :version`,
			Delete: `INSERT INTO gone VALUES (:id, :who)`,
		},
	})
	t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
	upsert := func(version int64) change {
		return change{key: "k", version: version, offset: version, fields: object("id", "p1", "title", "T"+string(rune('0'+version)))}
	}
	var batch []*connector.Delivery
	for _, ch := range []change{upsert(1), upsert(3), upsert(2), {key: "never seen", offset: 4, deleted: true}} {
		batch = append(batch, prepared(t, c, ch))
	}
	results := c.PushBatch(t.Context(), batch)
	require.Equal(t, []connector.Result{{}, {}, {Receipt: connector.Receipt{Stale: true}}, {}}, results)
	require.Equal(t, []string{"p1 T3 3 :key=k"}, dump(t, db, `SELECT id, title, version, by FROM policies`))
	require.Empty(t, dump(t, db, `SELECT id, who FROM gone`), "a key that was never upserted has no id to delete")

	_, err := c.Push(t.Context(), prepared(t, c, change{key: "k", offset: 5, deleted: true}))
	require.NoError(t, err)
	require.Equal(t, []string{"p1 k"}, dump(t, db, `SELECT id, who FROM gone`))

	text, err := prepared(t, c, upsert(6)).Document.(*document).MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, `{"id": "p1", "title": "T6", "who": "k"}`, string(text))
}
