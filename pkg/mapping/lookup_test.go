package mapping

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

func lookupOf(t *testing.T, text string) (*Lookup, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "table.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	l := &Lookup{}
	return l, l.UnmarshalScalar(file)
}

func TestLookups(t *testing.T) {
	t.Parallel()
	agencies, err := lookupOf(t, "DOI: Interior\nC-1: Commerce\n7: Seven\n")
	require.NoError(t, err)
	desks, err := lookupOf(t, `{"C-1": {"floor": 4, "rooms": [1, 2.5, null, true]}}`)
	require.NoError(t, err)
	decl := Decl{Lookups: Lookups{"agencies": agencies, "desks": desks}}
	s := schema(t)
	for source, want := range map[string]string{
		`lookups.agencies[event.id]`:                                    `"Commerce"`,
		`lookups.agencies["7"]`:                                         `"Seven"`,
		`lookups.agencies[?"gone"].orValue("none")`:                     `"none"`,
		`lookups.desks[event.id].rooms`:                                 `[1,2.5,null,true]`,
		`event.rules.map(r, lookups.agencies[?r.text].orValue(r.text))`: `["first","second"]`,
	} {
		e := expr(source)
		require.Empty(t, Compile(e, decl, []*event.Schema{s}), source)
		v, err := e.Eval(connector.Scope{Event: testEvent(s)})
		require.NoError(t, err, source)
		got, err := event.AppendJSON(nil, v)
		require.NoError(t, err)
		require.Equal(t, want, string(got), source)
	}
	e := expr(`lookups.agencies[event.parent.id]`)
	require.Len(t, Compile(e, decl, []*event.Schema{s}), 1, "a key that may be null")
	e = expr(`lookups.agencies["gone"]`)
	require.Empty(t, Compile(e, decl, []*event.Schema{s}))
	_, err = e.Eval(connector.Scope{Event: testEvent(s)})
	require.EqualError(t, err, "map.x: no such key: gone")
	require.Len(t, Compile(expr(`lookups.agencies[event.id] + 1`), decl, []*event.Schema{s}), 1, "texts are no numbers")
}

func TestLookupsThatAreNone(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                          "it has no entries",
		"- a":                       "want one mapping",
		"a: 1\na: 2":                "already defined",
		"big: 18446744073709551615": "big: 18446744073709551615 is too large for an integer",
	} {
		_, err := lookupOf(t, text)
		require.ErrorContains(t, err, want)
	}
}
