package config

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/hms-sme/policysync/pkg/connector"
)

// hide keeps the scalars in n, and what stands behind them on their lines, out of
// excerpts.
func (s *source) hide(n ast.Node) { ast.Walk(hider{s}, n) }

type hider struct{ s *source }

// Visit hides a scalar, which may reach over several lines.
func (h hider) Visit(n ast.Node) ast.Visitor {
	if _, ok := n.(ast.ScalarNode); !ok {
		return h
	}
	at, tk := h.s.place(n, ""), n.GetToken()
	if literal, ok := n.(*ast.LiteralNode); ok {
		tk = literal.Value.GetToken()
	}
	h.s.hideFrom(at.Line, at.Column)
	for i := range strings.Count(strings.TrimSpace(tk.Origin), "\n") {
		h.s.hideFrom(at.Line+1+i, 1)
	}
	return h
}

func (s *source) hideFrom(line, column int) {
	if old, ok := s.hidden[line]; !ok || column < old {
		s.hidden[line] = column
	}
}

// userinfo is the beginning of a URL that holds credentials.
var userinfo = regexp.MustCompile(`://[^/\s"'@]*@`)

// excerpt is the line at fault with a caret below it, empty if there is none.
func (s *source) excerpt(at connector.Place) string {
	if at.Line < 1 || at.Line > len(s.lines) {
		return ""
	}
	shown, rest := s.shown(at.Line)
	end := len(shown)
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string(shown[:min(max(at.Column-1, 0), end)]))
	return fmt.Sprintf("%5d | %s%s\n      | %s^", at.Line, string(shown), rest, pad)
}

// shown is a line as far as it holds nothing secret, and a mark for what is left out.
func (s *source) shown(n int) (text []rune, rest string) {
	line := strings.TrimRight(s.lines[n-1], "\r")
	text = []rune(line)
	end := len(text)
	if from, ok := s.hidden[n]; ok {
		end = min(end, max(from-1, 0))
	}
	if loc := userinfo.FindStringIndex(line); loc != nil {
		end = min(end, len([]rune(line[:loc[0]])))
	}
	if end < len(text) {
		rest = "…"
	}
	return text[:end], rest
}
