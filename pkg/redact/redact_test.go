package redact_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/redact"
)

const schema = `{"type": "record", "name": "Event", "fields": [
	{"name": "title", "type": "string"},
	{"name": "ssn", "type": "long", "sensitive": true},
	{"name": "notSo", "type": "string", "sensitive": false},
	{"name": "agent", "sensitive": true, "type": ["null",
		{"type": "record", "name": "Agent", "fields": [
			{"name": "mail", "type": "string"},
			{"name": "initials", "type": "string"},
			{"name": "active", "type": "boolean"},
			{"name": "boss", "type": ["null", "Agent"]}]}]},
	{"name": "phones", "type": {"type": "map", "values": "string"}, "sensitive": true},
	{"name": "visits", "type": {"type": "array", "items": ["string",
		{"type": "record", "name": "Visit", "fields": [{"name": "place", "type": "string"}, {"name": "by", "type": "Agent"},
			{"name": "pin", "type": "string", "sensitive": true}]}]}},
	{"name": "labels", "type": {"type": "map", "values": "string"}}]}`

func object(pairs ...any) *event.Object {
	o := &event.Object{}
	for i := 0; i < len(pairs); i += 2 {
		o.Add(pairs[i].(string), pairs[i+1])
	}
	return o
}

func sample(t *testing.T) *event.Event {
	t.Helper()
	s, err := event.ParseSchema(schema)
	require.NoError(t, err)
	return &event.Event{Schema: s, Value: object(
		"title", "Weekend Inspections", "ssn", int64(4711), "notSo", "public text",
		"agent", object("mail", `Jane "J" O'Hara é@example.gov`, "initials", "JO", "active", true,
			"boss", object("mail", "boss@example.gov", "initials", "BB", "active", true, "boss", nil)),
		"phones", map[string]any{"mobile": "+1 555 0100", "desk": "77"},
		"visits", []any{"by post", object("place", "12 Elm Street", "by", object("mail", "third@example.gov"), "pin", "pin-0815")},
		"labels", map[string]any{"owner": "Department Q", "other": "stays as is"},
	)}
}

func TestText(t *testing.T) {
	t.Parallel()
	paths := redact.New([]redact.Path{"event.visits.place", "event.labels.owner", "event.gone"})
	for _, row := range []struct{ name, text, want string }{
		{"nothing", `Weekend Inspections, public text, by post: stays as is, true`, `Weekend Inspections, public text, by post: stays as is, true`},
		{"as it is", `got Jane "J" O'Hara é@example.gov!`, `got [redacted]!`},
		{"twice", `boss@example.gov is boss@example.gov`, `[redacted] is [redacted]`},
		{"another case", `Key (mail)=(BOSS@EXAMPLE.GOV) exists`, `Key (mail)=([redacted]) exists`},
		{"quoted by Go", `"Jane \"J\" O'Hara é@example.gov"`, `"[redacted]"`},
		{"ASCII alone", `"Jane \"J\" O'Hara \u00e9@example.gov"`, `"[redacted]"`},
		{"SQL", `near 'Jane "J" O''Hara é@example.gov'`, `near '[redacted]'`},
		{"URL", `GET /x/Jane%20%22J%22%20O%27Hara%20%c3%a9@example.gov`, `GET /x/[redacted]`},
		{"query", `q=%2B1+555+0100&c=d`, `q=[redacted]&c=d`},
		{"quoted JSON", `422: "{\"mail\":\"Jane \\\"J\\\" O'Hara é@example.gov\"}"`, `422: "{\"mail\":\"[redacted]\"}"`},
		{"cut", `answer: "{\"mail\":\"boss@exam…"`, `answer: "{\"mail\":\"[redacted]…"`},
		{"cut by dots", `row (boss@exam...)`, `row ([redacted]...)`},
		{"cut at the end", `row (boss@exam`, `row ([redacted]`},
		{"number", `ssn=4711, 14711, 47110`, `ssn=[redacted], 14711, 47110`},
		{"map", `mobile: +1 555 0100 desk 77`, `[redacted]: [redacted] [redacted] 77`},
		{"too short", `JO, BB`, `JO, BB`},
		{"field of an item's branch", `pin-0815`, `[redacted]`},
		{"path through an array", `12 Elm Street, third@example.gov`, `[redacted], third@example.gov`},
		{"path to a key", `Department Q`, `[redacted]`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row.want, paths.Text(row.text, nil, &event.Event{}, sample(t)))
		})
	}
}

func TestOverlappingValuesAreCoveredTogether(t *testing.T) {
	t.Parallel()
	s, err := event.ParseSchema(`{"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}, {"name": "b", "type": "string"}]}`)
	require.NoError(t, err)
	ev := &event.Event{Schema: s, Value: object("a", "abcd", "b", "cdefgh")}
	require.Equal(t, "<[redacted]>", redact.New([]redact.Path{"event.a", "event.b"}).Text("<abcdefgh>", ev))
}

func TestErrorKeepsItsChain(t *testing.T) {
	t.Parallel()
	cause := errors.New("boss@example.gov is taken")
	var r *redact.Redactor
	err := r.Error(fmt.Errorf("push: %w", connector.AsPermanent(cause)), sample(t))
	require.EqualError(t, err, "push: [redacted] is taken")
	require.ErrorIs(t, err, cause)
	require.Equal(t, connector.Permanent, connector.Classify(err))
	require.Same(t, cause, r.Error(cause), "nothing to redact, nothing wrapped")
	require.NoError(t, r.Error(nil, sample(t)))
}

func TestMissing(t *testing.T) {
	t.Parallel()
	older, err := event.ParseSchema(`{"type": "record", "name": "Event", "fields": [{"name": "former", "type": "string"}]}`)
	require.NoError(t, err)
	schemas := []*event.Schema{older, sample(t).Schema}
	for _, known := range []redact.Path{"event.former", "event.agent.mail", "event.agent.boss.boss.mail", "event.visits.place", "event.phones.any"} {
		name, _ := known.Missing(schemas)
		require.Empty(t, name, known)
	}
	name, instead := redact.Path("event.agent.mial.x").Missing(schemas)
	require.Equal(t, "mial", name)
	require.Equal(t, []string{"mail", "initials", "active", "boss"}, instead)
	name, _ = redact.Path("event.title.x").Missing(schemas)
	require.Equal(t, "x", name)
}
