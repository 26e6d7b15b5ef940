package mapping

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

func TestParseTextStrings(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`{"}"}x`:          `"}"`,
		`{'\'}'}x`:        `'\'}'`,
		`{r"\"}x`:         `r"\"`,
		`{R'}\'}x`:        `R'}\'`,
		`{br"\"}x`:        `br"\"`,
		`{"""a"}"""}x`:    `"""a"}"""`,
		`{{"a"}}x`:        ``,
		`{ {"a": {}}.a}x`: ` {"a": {}}.a`,
	} {
		text, err := ParseText(source, connector.Place{})
		if want == "" {
			require.NoError(t, err)
			require.True(t, text.Constant())
			continue
		}
		require.NoError(t, err, source)
		require.Len(t, text.Parts, 2, source)
		require.Equal(t, want, text.Parts[0].Expr.Source)
		require.Equal(t, "x", text.Parts[1].Literal)
	}
	for _, source := range []string{`{"}`, `{'''}'''`, `{"\"}`} {
		_, err := ParseText(source, connector.Place{})
		require.ErrorContains(t, err, "{ is not closed", source)
	}
}

// Places count characters, and go on at the column of the first line.
func TestParseTextPlaces(t *testing.T) {
	t.Parallel()
	text, err := ParseText("ä{a}\nöü {b}", connector.Place{Line: 3, Column: 10})
	require.NoError(t, err)
	var got []connector.Place
	for _, p := range text.Parts {
		if p.Expr != nil {
			got = append(got, p.Expr.Place)
		}
	}
	require.Empty(t, cmp.Diff([]connector.Place{{Line: 3, Column: 12}, {Line: 4, Column: 14}}, got))
	_, err = ParseText("äö}", connector.Place{})
	require.EqualError(t, err, "character 3: } without {; write }} for a brace")
}

func FuzzParseText(f *testing.F) {
	f.Add("a{{b}}c{d}")
	f.Add(`{"}"}{'''}'''}`)
	f.Fuzz(func(t *testing.T, source string) {
		text, err := ParseText(source, connector.Place{Line: 1, Column: 1})
		if err != nil {
			return
		}
		var again strings.Builder
		braces := strings.NewReplacer("{", "{{", "}", "}}")
		for _, p := range text.Parts {
			if p.Expr != nil {
				again.WriteString("{" + p.Expr.Source + "}")
			} else {
				again.WriteString(braces.Replace(p.Literal))
			}
		}
		if again.String() != source {
			t.Fatalf("%q came back as %q", source, again.String())
		}
	})
}
