package mapping

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// Lists and objects that CEL has made anew hold the event's own values.
func TestResultsKeepOrderAndDigits(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for source, want := range map[string]string{
		`event.rules.filter(r, r.no > 0)`:                   `[{"no":1,"text":"first"},{"no":2,"text":"second"}]`,
		`event.rules + event.rules.filter(r, r.no == 1)`:    `[{"no":1,"text":"first"},{"no":2,"text":"second"},{"no":1,"text":"first"}]`,
		`[[event.version]]`:                                 `[[1152921504606846977]]`,
		`event.rules.transformList(i, r, {"i": i, "r": r})`: `[{"i":0,"r":{"no":1,"text":"first"}},{"i":1,"r":{"no":2,"text":"second"}}]`,
		`[event.due, event.fee]`:                            `["2024-10-04","12.30"]`,
		`7u`:                                                `7`,
		`event.at - timestamp("2023-11-14T22:00:00Z")`:      `"00:13:20.123"`,
		`event.version > 1.5`:                               `true`,
		`optional.none()`:                                   `null`,
		`dyn(event).agent.desk + 1`:                         `5`,
		"event.`type`":                                      `"opened"`,
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, evaluated(t, s, source))
		})
	}
}

// evaluated is the JSON of what an expression makes of the test event.
func evaluated(t *testing.T, s *event.Schema, source string) string {
	t.Helper()
	e := expr(source)
	require.Empty(t, Compile(e, Decl{}, []*event.Schema{s}), source)
	v, err := e.Eval(connector.Scope{Event: testEvent(s)})
	require.NoError(t, err, source)
	got, err := event.AppendJSON(nil, v)
	require.NoError(t, err, source)
	return string(got)
}

func TestResultsThatNoDocumentHolds(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for source, want := range map[string]string{
		`18446744073709551615u`: `18446744073709551615 is too large for an integer`,
		`{1: "a"}`:              `key 1 of a map is no text`,
		`duration("36h")`:       `duration 36h0m0s is no time of day: take its seconds, or its text by string()`,
		`[type(1)]`:             `a type is no value for a document`,
		`event.rules[5].text`:   `index out of bounds: 5`,
	} {
		e := expr(source)
		require.Empty(t, Compile(e, Decl{}, []*event.Schema{s}), source)
		_, err := e.Eval(connector.Scope{Event: testEvent(s)})
		require.EqualError(t, err, "map.x: "+want)
	}
}

func TestFunctions(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for source, want := range map[string]string{
		`event.at.strftime("%d.%m.%Y %H:%M")`:                            `"14.11.2023 22:13"`,
		`event.at.strftime("%Y-%m-%dT%H:%M:%S%z", "America/New_York")`:   `"2023-11-14T17:13:20-0500"`,
		`event.at.strftime("%H:%M", "+05:30")`:                           `"03:43"`,
		`event.at.getHours("America/New_York")`:                          `17`,
		`"14.11.2023".strptime("%d.%m.%Y")`:                              `"2023-11-14T00:00:00Z"`,
		`"2023-07-01 08:00".strptime("%Y-%m-%d %H:%M", "Europe/Berlin")`: `"2023-07-01T06:00:00Z"`,
		`regex.extract("INS-2026-7", r"-(\d+)-").orValue("")`:            `"2026"`,
		`string(regex.extract("INS", r"\d+") == null)`:                   `"true"`,
		`regex.extract(key, "[A-Z]" + "+").orValue("")`:                  `"C"`,
		`regex.extractAll("a1 b22", "[0-9]+").join(" ")`:                 `"1 22"`,
		`regex.replace("J. Doe (DOI)", r"(\w)\. (\w+)", r"\2, \1.\\")`:   `"Doe, J.\\ (DOI)"`,
		`sha256(event.id)`:      `"07e9a9696557f5c8f882be06e799bc096a740341e798ddd7337614f5ffc1a070"`,
		`sha256(b"abc")`:        `"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"`,
		`base64.encode(b"abc")`: `"YWJj"`,
		`"%s: %d rules".format([event.id, event.rules.size()])`: `"C-1: 2 rules"`,
		`event.rules.map(r, r.text).join("; ").upperAscii()`:    `"FIRST; SECOND"`,
	} {
		require.Equal(t, want, evaluated(t, s, source), source)
	}
}

func TestFunctionsNameWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for source, want := range map[string]string{
		`regex.replace("a", "a", r"\1")`:       `replace by "\\1": want \0 to \0, or \\, after a backslash`,
		`regex.extract(key, "(" + "")`:         "regex.extract: error parsing regexp: missing closing ): `(`",
		`regex.extract("a", "(a)(b)")`:         `"(a)(b)" has 2 groups, want one or none: write others as (?:…)`,
		`event.at.strftime("%H", "Mars/Base")`: `there is no time zone "Mars/Base": want a name such as America/New_York, or an offset such as -05:00`,
		`"soon".strptime("%Y")`:                `strptime: failed to parse "soon" with "%Y": cannot parse "%Y"`,
	} {
		e := expr(source)
		require.Empty(t, Compile(e, Decl{}, []*event.Schema{s}), source)
		_, err := e.Eval(connector.Scope{Event: testEvent(s)})
		require.EqualError(t, err, "map.x: "+want)
	}
}

// A record may be named as a variable is: event.payload is a field all the same.
func TestNamesOfRecordsHideNoField(t *testing.T) {
	t.Parallel()
	s, err := event.ParseSchema(`{"type": "record", "name": "event", "fields": [
		{"name": "payload", "type": {"type": "record", "name": "event.payload", "fields": [{"name": "key", "type": "string"}]}}]}`)
	require.NoError(t, err)
	e := expr("event.payload.key + key")
	require.Empty(t, Compile(e, Decl{}, []*event.Schema{s}))
	ev := testEvent(s)
	ev.Value = object2("payload", object2("key", "a"))
	v, err := e.Eval(connector.Scope{Event: ev})
	require.NoError(t, err)
	require.Equal(t, "aC-1", v)
}

func TestTypesOfSeveralSchemas(t *testing.T) {
	t.Parallel()
	schemas := make([]*event.Schema, 2)
	for i, types := range [][3]string{{`"int"`, `"string"`, `"float"`}, {`["null", "long"]`, `"int"`, `"double"`}} {
		s, err := event.ParseSchema(`{"type": "record", "name": "R", "fields": [{"name": "a", "type": ` + types[0] +
			`}, {"name": "b", "type": ` + types[1] + `}, {"name": "c", "type": ` + types[2] + `}]}`)
		require.NoError(t, err)
		schemas[i] = s
	}
	typeOf := func(source string) *event.Type {
		e := expr(source)
		require.Empty(t, Compile(e, Decl{}, schemas))
		return e.Type
	}
	require.Equal(t, event.Long, typeOf("event.a").Kind)
	require.Nil(t, typeOf("event.b"))
	require.Equal(t, event.Double, typeOf("event.c").Kind)
	require.Equal(t, event.Rec, typeOf("event").Kind)
	require.Equal(t, event.Array, typeOf("[event]").Kind)
}

// Lanes of all targets evaluate one expression, and meet a new schema at once.
func TestEvalFromManyGoroutines(t *testing.T) {
	t.Parallel()
	e := expr("event.id + key")
	require.Empty(t, Compile(e, Decl{}, nil))
	errs := make(chan error)
	for i := range 8 {
		s := schema(t)
		go func() {
			var err error
			for range 20 {
				if _, err = e.Eval(connector.Scope{Event: testEvent(s)}); err != nil {
					break
				}
				s = &event.Schema{ID: i, Root: s.Root}
			}
			errs <- err
		}()
	}
	for range 8 {
		require.NoError(t, <-errs)
	}
}

func FuzzCompile(f *testing.F) {
	for _, source := range []string{
		`event.agent.email`, `event.rules.map(r, r.text + key)`, `event.?agent.?email.orValue("none")`, `event.target == null ? 1 : event.version`,
		`has(event.parent.parent) && event.parent.parent.version > 1`, `{"a": [event.tags, headers]}`, `event.at - timestamp`,
	} {
		f.Add(source)
	}
	s, err := event.ParseSchema(schemaText)
	require.NoError(f, err)
	ev := testEvent(s)
	f.Fuzz(func(t *testing.T, source string) {
		e := expr(source)
		problems := Compile(e, Decl{}, []*event.Schema{s})
		for _, p := range problems {
			if p.Place.Line < 10 || p.Place.Column < 1 || p.Message == "" {
				t.Fatalf("%q: no such place or message: %+v", source, p)
			}
		}
		if len(problems) > 0 {
			return
		}
		v, err := e.Eval(connector.Scope{Event: ev})
		if err != nil {
			return
		}
		if _, err := event.AppendJSON(nil, v); err != nil && !strings.Contains(err.Error(), "not a JSON number") {
			t.Fatalf("%q: %v", source, err)
		}
	})
}
