package mapping

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// read is what a Reader found, without what it was given.
type read struct {
	ID, Type, Key      string
	HasKey, HasVersion bool
	Version            int64
	Targets            []string
}

func readEvent(t *testing.T, r *Reader, topic, fields string, values ...any) (read, error) {
	t.Helper()
	s, err := event.ParseSchema(`{"type": "record", "name": "R", "fields": [` + fields + `]}`)
	require.NoError(t, err)
	record := &event.Record{Position: event.Position{Topic: topic}, Key: []byte("K"), Value: []byte{0}}
	ev, err := r.Read(record, object2(values...), s)
	if err != nil {
		return read{}, err
	}
	return read{ev.ID, ev.Type, ev.Key, ev.HasKey, ev.HasVersion, ev.Version, ev.Targets}, nil
}

const platformFields = `{"name": "eventId", "type": "string"}, {"name": "type", "type": "string"}, {"name": "version", "type": "long"},
	{"name": "target", "type": ["null", "string", {"type": "array", "items": "string"}]}`

func compiledExpr(t *testing.T, source string) *connector.Expr {
	t.Helper()
	e := &connector.Expr{Source: source, Place: connector.Place{Path: "event.x"}}
	require.Empty(t, Compile(e, Decl{}, nil))
	return e
}

func TestReaderDefaults(t *testing.T) {
	t.Parallel()
	r := NewReader(EventConfig{})
	for _, row := range []struct {
		name, fields string
		values       []any
		want         read
	}{
		{
			"all", platformFields,
			[]any{"eventId", "e", "type", "t", "version", int64(1)<<60 + 1, "target", []any{"a", "b"}},
			read{"e", "t", "K", true, true, 1<<60 + 1, []string{"a", "b"}},
		},
		{"one target", platformFields, []any{"eventId", "e", "type", "t", "version", int64(1), "target", "a"}, read{"e", "t", "K", true, true, 1, []string{"a"}}},
		{"no target", platformFields, []any{"eventId", "e", "type", "t", "version", int64(1), "target", nil}, read{"e", "t", "K", true, true, 1, nil}},
		{"none of the fields", `{"name": "id", "type": "string"}`, []any{"id", "x"}, read{Key: "K", HasKey: true}},
		{"fields of other types", `{"name": "version", "type": "string"}, {"name": "type", "type": "int"}`, []any{"version", "1", "type", int64(2)}, read{Key: "K", HasKey: true}},
		{"enum", `{"name": "type", "type": {"type": "enum", "name": "E", "symbols": ["x"]}}`, []any{"type", "x"}, read{Type: "x", Key: "K", HasKey: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := readEvent(t, r, "topic", row.fields, row.values...)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(row.want, got))
		})
	}
}

func TestReaderExpressions(t *testing.T) {
	t.Parallel()
	r := NewReader(EventConfig{
		Key: compiledExpr(t, `event.no`), Type: compiledExpr(t, `"changed"`), Version: compiledExpr(t, `event.no + 1`),
		Topics: []connector.Named[EventConfig]{{Name: "other", Value: EventConfig{Type: compiledExpr(t, `topic`)}}},
	})
	const fields = `{"name": "no", "type": "int"}`
	got, err := readEvent(t, r, "topic", fields, "no", int64(7))
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(read{Type: "changed", Key: "7", HasKey: true, HasVersion: true, Version: 8}, got))
	got, err = readEvent(t, r, "other", fields, "no", int64(7))
	require.NoError(t, err)
	require.Equal(t, "other", got.Type)
	require.Equal(t, "7", got.Key)
}

// A key outlives its event, in receipts and in what is known of the log ahead. It must
// not keep the whole value, of which texts are parts.
func TestKeyOwnsItsBytes(t *testing.T) {
	t.Parallel()
	value := strings.Repeat("policy 7 ", 1000)
	s, err := event.ParseSchema(`{"type": "record", "name": "R", "fields": [{"name": "no", "type": "string"}]}`)
	require.NoError(t, err)
	ev, err := NewReader(EventConfig{Key: compiledExpr(t, `event.no`)}).Read(
		&event.Record{Key: []byte("K"), Value: []byte{0}}, object2("no", value[:8]), s)
	require.NoError(t, err)
	require.Equal(t, "policy 7", ev.Key)
	require.NotSame(t, unsafe.StringData(value), unsafe.StringData(ev.Key))
}

func TestReaderErrors(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		config EventConfig
		want   string
	}{
		{"key is null", EventConfig{Key: compiledExpr(t, "event.x")}, "read event: key: null has no text"},
		{"version is text", EventConfig{Version: compiledExpr(t, "event.eventId")}, "read event: version: a string is no version: want a whole number"},
		{"version is null", EventConfig{Version: compiledExpr(t, "event.x")}, "read event: version: null is no version: want a whole number"},
		{"targets are a number", EventConfig{Targets: compiledExpr(t, "1")}, "read event: targets: a int64 names no targets: want text, a list of texts, or null"},
		{"a target is a number", EventConfig{Targets: compiledExpr(t, `["a", 1]`)}, "read event: targets: item 1 is int64, want the name of a target"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := readEvent(t, NewReader(row.config), "topic", `{"name": "eventId", "type": "string"}, {"name": "x", "type": ["null", "string", "int"]}`, "eventId", "e", "x", nil)
			require.EqualError(t, err, row.want)
		})
	}
	_, err := readEvent(t, NewReader(EventConfig{ID: compiledExpr(t, "event.nope")}), "topic", `{"name": "no", "type": "int"}`, "no", int64(1))
	var schemaErr *SchemaError
	require.ErrorAs(t, err, &schemaErr)
}

func TestReaderOfTombstones(t *testing.T) {
	t.Parallel()
	record := &event.Record{Key: []byte("K")}
	ev, err := NewReader(EventConfig{}).Read(record, nil, nil)
	require.NoError(t, err)
	require.True(t, ev.Tombstone() && ev.HasKey)
	require.Equal(t, "K", ev.Key)
	_, err = NewReader(EventConfig{Key: compiledExpr(t, "event.id")}).Read(record, nil, nil)
	require.ErrorIs(t, err, ErrNoKey)
}

// A target has one source of versions: what may be missing from an event is none.
func TestVersioned(t *testing.T) {
	t.Parallel()
	for fields, want := range map[string]bool{
		platformFields:                                  true,
		`{"name": "version", "type": "int"}`:            true,
		`{"name": "version", "type": "string"}`:         false,
		`{"name": "version", "type": ["null", "long"]}`: false,
		`{"name": "no", "type": "long"}`:                false,
	} {
		s, err := event.ParseSchema(`{"type": "record", "name": "R", "fields": [` + fields + `]}`)
		require.NoError(t, err)
		require.Equal(t, want, NewReader(EventConfig{}).Versioned("topic", s), fields)
		require.True(t, NewReader(EventConfig{Version: compiledExpr(t, "offset")}).Versioned("topic", s))
	}
}
