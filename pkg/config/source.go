package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/hms-sme/policysync/pkg/connector"
)

// maxSize bounds the file. A config is written by hand, and the parser's time
// grows with the square of some texts.
const maxSize = 256 << 10

// source is the text of a config and its syntax tree.
type source struct {
	file  string
	lines []string
	// root is nil for an empty file.
	root ast.Node
	// aliases leads from each alias to the value of the anchor that was the last
	// of its name above it.
	aliases map[*ast.AliasNode]ast.Node
	// hidden maps a line to the column from which it must not be shown.
	hidden map[int]int
}

// parse reads the syntax. Its mistake is the first one that the parser finds.
func parse(file string, text []byte) (*source, *Mistake) {
	s := &source{
		file: file, lines: strings.Split(string(text), "\n"),
		aliases: map[*ast.AliasNode]ast.Node{}, hidden: map[int]int{},
	}
	place := connector.Place{File: file}
	switch {
	case len(text) > maxSize:
		return s, &Mistake{Place: place, Message: fmt.Sprintf("%d bytes are too many: want at most %d", len(text), maxSize)}
	case !utf8.Valid(text):
		return s, &Mistake{Place: place, Message: "not UTF-8"}
	}
	if tooDeep(string(text)) {
		return s, &Mistake{Place: place, Message: fmt.Sprintf("nested too deep: want at most %d levels", maxDepth)}
	}
	doc, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return s, s.explain(err)
	}
	var bodies []ast.Node
	for _, d := range doc.Docs {
		if d.Body != nil {
			bodies = append(bodies, d.Body)
		}
	}
	if len(bodies) > 1 {
		return s, &Mistake{Place: s.place(bodies[1], ""), Message: "a second document: want one"}
	}
	if len(bodies) == 1 {
		s.root = bodies[0]
		ast.Walk(anchors{s: s, named: map[string]ast.Node{}}, s.root)
	}
	return s, nil
}

// tooDeep finds nesting on which the parser, which recurses, would spend minutes.
func tooDeep(text string) bool {
	open := 0
	for _, r := range text {
		switch r {
		case '[', '{':
			open++
		case ']', '}':
			open--
		}
		if open > maxDepth {
			return true
		}
	}
	return strings.Contains(text, strings.Repeat("- ", maxDepth)) || strings.Contains(text, strings.Repeat("? ", maxDepth))
}

// anchors is a visitor that resolves aliases in the order of the text.
type anchors struct {
	s     *source
	named map[string]ast.Node
}

// Visit notes an anchor, or ties an alias to its anchor.
func (a anchors) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.AnchorNode:
		a.named[n.Name.GetToken().Value] = n.Value
	case *ast.AliasNode:
		if target := a.named[n.Value.GetToken().Value]; target != nil {
			a.s.aliases[n] = target
		}
	}
	return a
}

// conditional finds `key: a ? b : c` outside quotes, which YAML takes for a
// mapping inside a mapping.
var conditional = regexp.MustCompile(`^[^#'"]*?:\s+[^'"|>\s].*\?.*\s:\s`)

// explain makes a mistake of a syntax error. Nothing of such a file is known to
// be no secret, so the excerpt ends with the key.
func (s *source) explain(err error) *Mistake {
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) {
		return &Mistake{Place: connector.Place{File: s.file}, Message: "not YAML"}
	}
	place := connector.Place{File: s.file}
	if syntax.Token != nil {
		place.Line, place.Column = syntax.Token.Position.Line, syntax.Token.Position.Column
	}
	message := strings.ReplaceAll(syntax.Message, "\t", `\t`)
	if place.Line > 0 && place.Line <= len(s.lines) {
		line := s.lines[place.Line-1]
		switch {
		case conditional.MatchString(line):
			message += `: an expression with " : " in it needs quotes, as in when: 'a ? "x" : "y"'`
		case strings.Contains(line, "${"):
			message += `: inside { } and [ ] a ${NAME} needs quotes`
		}
		for n := range s.lines {
			s.hidden[n+1] = 1 + keyEnd(s.lines[n])
		}
	}
	return &Mistake{Place: place, Message: message}
}

// keyEnd counts the characters of a line's indent and key.
func keyEnd(line string) int {
	return utf8.RuneCountInString(keyPattern.FindString(line))
}

var keyPattern = regexp.MustCompile(`^\s*(- +)*([A-Za-z0-9_-]+:\s*)?`)

// place is where n begins. A quoted text begins after the quote, a block text on
// the next line.
func (s *source) place(n ast.Node, path string) connector.Place {
	at := connector.Place{File: s.file, Path: path}
	switch v := n.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return s.place(v.Values[0].Key, path)
		}
	case *ast.MappingValueNode:
		return s.place(v.Key, path)
	case *ast.LiteralNode:
		at.Line, at.Column = v.Start.Position.Line+1, 1
		if at.Line <= len(s.lines) {
			line := s.lines[at.Line-1]
			at.Column += len(line) - len(strings.TrimLeft(line, " "))
		}
		return at
	}
	tk := n.GetToken()
	at.Line, at.Column = tk.Position.Line, tk.Position.Column
	if _, isText := n.(*ast.StringNode); isText && (tk.Type == token.SingleQuoteType || tk.Type == token.DoubleQuoteType) {
		at.Column++
	}
	return at
}
