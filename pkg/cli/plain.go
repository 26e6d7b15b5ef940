package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// plain writes text to out, in which no terminal finds anything to act upon: what is
// printed comes from events, and from systems that answer with what they like. Control
// characters other than line feeds and tabs become \u001b and the like, as JSON writes
// them, in which they mean the same.
type plain struct{ out io.Writer }

func (p plain) Write(text []byte) (int, error) {
	var safe []byte
	for rest := text; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if rest = rest[n:]; unicode.IsControl(r) && r != '\n' && r != '\t' {
			safe = fmt.Appendf(safe, `\u%04x`, r)
		} else {
			safe = utf8.AppendRune(safe, r)
		}
	}
	if _, err := p.out.Write(safe); err != nil {
		return 0, err
	}
	return len(text), nil
}

// flat makes text one line.
func flat(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// line makes text one line of at most n characters.
func line(text string, n int) string {
	text = flat(text)
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}
