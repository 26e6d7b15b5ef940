package mapping

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hms-sme/policysync/pkg/connector"
)

// ParseText splits a text such as /rules/{event.payload.id} into literals and
// expressions; {{ and }} stand for braces. A brace inside a string of an
// expression does not end it, nor does that of a map in it. The expressions' places
// are where they stand in the text, whose lines all begin at the column of the first.
func ParseText(source string, place connector.Place) (*connector.Text, error) {
	t := &connector.Text{Source: source, Place: place}
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			t.Parts = append(t.Parts, connector.Part{Literal: literal.String()})
			literal.Reset()
		}
	}
	for i := 0; i < len(source); {
		switch c := source[i]; {
		case (c == '{' || c == '}') && strings.HasPrefix(source[i+1:], string(c)):
			literal.WriteByte(c)
			i += 2
		case c == '}':
			return nil, fmt.Errorf("character %d: } without {; write }} for a brace", nth(source, i))
		case c == '{':
			end := closing(source[i+1:])
			if end < 0 {
				return nil, fmt.Errorf("character %d: { is not closed; write {{ for a brace", nth(source, i))
			}
			text := source[i+1 : i+1+end]
			if strings.TrimSpace(text) == "" {
				return nil, fmt.Errorf("character %d: {} holds no expression", nth(source, i))
			}
			flush()
			t.Parts = append(t.Parts, connector.Part{Expr: &connector.Expr{Source: text, Place: advance(place, source[:i+1])}})
			i += end + 2
		default:
			literal.WriteByte(c)
			i++
		}
	}
	flush()
	return t, nil
}

// nth counts characters from 1.
func nth(source string, i int) int { return utf8.RuneCountInString(source[:i]) + 1 }

// advance is the place after the text that begins at p.
func advance(p connector.Place, text string) connector.Place {
	p.Line += strings.Count(text, "\n")
	p.Column += utf8.RuneCountInString(text[strings.LastIndexByte(text, '\n')+1:])
	return p
}

// closing is the index of the } that ends an expression: not one inside a string
// or of a map inside it; -1 if there is none.
func closing(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\'':
			end := stringEnd(s, i)
			if end < 0 {
				return -1
			}
			i = end
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return i
		case c == '}':
			depth--
		}
	}
	return -1
}

// stringEnd is the index of the last quote of the CEL string whose first is at i, -1
// if it does not end. Three quotes end at three; in a raw string, r"…", a backslash
// is as any other character.
func stringEnd(s string, i int) int {
	quote := s[i : i+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s[i:], triple) {
		quote = triple
	}
	before := strings.TrimRight(s[:i], "bB")
	raw := strings.HasSuffix(before, "r") || strings.HasSuffix(before, "R")
	for j := i + len(quote); j < len(s); j++ {
		switch {
		case s[j] == '\\' && !raw:
			j++
		case strings.HasPrefix(s[j:], quote):
			return j + len(quote) - 1
		}
	}
	return -1
}
