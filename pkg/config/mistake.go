package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Mistake is one thing wrong with a config.
type Mistake struct {
	Place   connector.Place
	Message string
	// Excerpt is the line at fault with a caret below it. Secrets are left out.
	// It is empty if the mistake has no line of its own.
	Excerpt string
}

// String prints file:line:column: path: message, then the excerpt.
func (m Mistake) String() string {
	var b strings.Builder
	b.WriteString(m.Place.File)
	if m.Place.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", m.Place.Line, m.Place.Column)
	}
	if m.Place.Path != "" {
		b.WriteString(": " + m.Place.Path)
	}
	b.WriteString(": " + m.Message)
	if m.Excerpt != "" {
		b.WriteString("\n" + m.Excerpt)
	}
	return b.String()
}

// Error holds all the mistakes of a config, in the order of its lines.
type Error struct {
	Mistakes []Mistake
}

func (e *Error) Error() string {
	texts := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		texts[i] = m.String()
	}
	return strings.Join(texts, "\n")
}

// asError sorts the mistakes, drops repeats and adds the excerpts; nil if there
// are none.
func (s *source) asError(mistakes []Mistake) error {
	if len(mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(mistakes, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Place.Line, b.Place.Line), cmp.Compare(a.Place.Column, b.Place.Column))
	})
	e, seen := new(Error), map[Mistake]bool{}
	for _, m := range mistakes {
		m.Excerpt = s.excerpt(m.Place)
		if !seen[m] {
			e.Mistakes, seen[m] = append(e.Mistakes, m), true
		}
	}
	return e
}
