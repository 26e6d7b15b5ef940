package mapping

import (
	"fmt"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
)

// ParseText splits a text such as /rules/{event.payload.id} into literals and
// expressions; {{ and }} stand for braces. A brace inside a string of an
// expression does not end it. The expressions' places are where they stand in the
// text, if it is on one line.
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
			return nil, fmt.Errorf("character %d: } without {; write }} for a brace", i+1)
		case c == '{':
			end := closing(source[i+1:])
			if end < 0 {
				return nil, fmt.Errorf("character %d: { is not closed; write {{ for a brace", i+1)
			}
			text := source[i+1 : i+1+end]
			if strings.TrimSpace(text) == "" {
				return nil, fmt.Errorf("character %d: {} holds no expression", i+1)
			}
			flush()
			at := place
			at.Column += i + 1
			t.Parts = append(t.Parts, connector.Part{Expr: &connector.Expr{Source: text, Place: at}})
			i += end + 2
		default:
			literal.WriteByte(c)
			i++
		}
	}
	flush()
	return t, nil
}

// closing is the index of the } that ends an expression: not one inside a string
// or of a map inside it; -1 if there is none.
func closing(s string) int {
	depth := 0
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'':
			quote = c
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
