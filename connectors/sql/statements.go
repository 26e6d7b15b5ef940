package sql

import (
	"fmt"
	"maps"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// The parameters that every statement has.
const (
	keyParameter     = "key"
	versionParameter = "version"
)

// statement is SQL cut at its parameters: texts[0] parameters[0] texts[1] ….
type statement struct {
	texts, parameters []string
}

// parseStatement finds the :name parameters outside of quotes and comments. It
// takes every text: what is no SQL is for the database to refuse. A backslash
// escapes nothing; a quote within quotes is doubled, as all databases have it.
func parseStatement(text string) statement {
	var s statement
	start := 0
	for i := 0; i < len(text); {
		if n := quotedLength(text[i:]); n > 0 {
			i += n
			continue
		}
		name := parameterName(text[i:])
		switch {
		case name != "":
			s.texts, s.parameters = append(s.texts, text[start:i]), append(s.parameters, name)
			i += 1 + len(name)
			start = i
		case strings.HasPrefix(text[i:], "::"): // a cast of PostgreSQL
			i += 2
		default:
			i++
		}
	}
	s.texts = append(s.texts, text[start:])
	return s
}

// quotedLength is the length of the quoted text or comment that text begins with,
// 0 if it begins with none. One that does not end goes to the end.
func quotedLength(text string) int {
	opening, closing := "", ""
	switch {
	case strings.HasPrefix(text, "--"):
		opening, closing = "--", "\n"
	case strings.HasPrefix(text, "/*"):
		opening, closing = "/*", "*/"
	case text[0] == '\'' || text[0] == '"' || text[0] == '`':
		opening, closing = text[:1], text[:1]
	case text[0] == '$': // $tag$ … $tag$ of PostgreSQL
		if end := strings.IndexByte(text[1:], '$'); end >= 0 && nameLength(text[1:]) == end {
			opening, closing = text[:end+2], text[:end+2]
		}
	}
	if opening == "" {
		return 0
	}
	end := strings.Index(text[len(opening):], closing)
	if end < 0 {
		return len(text)
	}
	return len(opening) + end + len(closing)
}

// parameterName is the name after the colon that text begins with, if any.
func parameterName(text string) string {
	if text[0] != ':' {
		return ""
	}
	if n := nameLength(text[1:]); n > 0 && (text[1] < '0' || text[1] > '9') {
		return text[1 : 1+n]
	}
	return ""
}

func nameLength(text string) int {
	n := strings.IndexFunc(text, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if n < 0 {
		return len(text)
	}
	return n
}

// statements calls the user's own SQL.
type statements struct {
	dialect        dialect
	upsert, delete statement
	parameters     []connector.Branch
}

func newStatements(d dialect, c *Config) *statements {
	s := &statements{dialect: d, upsert: parseStatement(c.Statement.Upsert), delete: parseStatement(c.Statement.Delete)}
	if c.Map != nil {
		s.parameters = c.Map.Fields
	}
	return s
}

func (s *statements) tables() []*table { return nil }

// lastCall is the name under which the parameters of the last upsert are kept
// among the row keys. No table has it.
const lastCall = ""

func (s *statements) document(d *connector.Delivery) (*document, error) {
	doc := &document{parameters: &event.Object{}, keys: rowKeys{lastCall: {}}}
	for _, p := range s.parameters {
		if d.Op == connector.Delete && usesEvent(p.Tree) {
			continue
		}
		v, err := p.Tree.Eval(connector.Scope{Event: d.Event})
		if err != nil {
			return nil, err
		}
		if v, err = argument(s.dialect, v); err != nil {
			return nil, fmt.Errorf("parameter %q: %w", p.Name, err)
		}
		doc.parameters.Add(p.Name, v)
		doc.keys[lastCall].set(p.Name, v)
	}
	return doc, nil
}

func (s *statements) commands(_ columnsOf, admitted []admission) ([]command, error) {
	var commands []command
	for _, a := range admitted {
		text, name, values := s.upsert, "upsert", a.document.keys[lastCall]
		if a.delivery.Op == connector.Delete {
			text, name, values = s.delete, "delete", maps.Clone(a.prior[lastCall])
			if values == nil {
				values = rowKey{}
			}
			maps.Copy(values, a.document.keys[lastCall])
		}
		if w, ok := s.call(text, values, a.delivery); ok {
			commands = append(commands, command{writer: w, does: "run statement." + name})
		}
	}
	return commands, nil
}

// call fills in the parameters, unless one of them was never given a value.
func (s *statements) call(text statement, values rowKey, d *connector.Delivery) (*writer, bool) {
	w := newWriter(s.dialect)
	for i, name := range text.parameters {
		w.text(text.texts[i])
		_, given := values[name]
		switch {
		case name == keyParameter:
			w.argument(d.Key)
		case name == versionParameter && d.Version.Known:
			w.argument(d.Version.Value)
		case name == versionParameter:
			w.argument(nil)
		case given:
			w.argument(values.argument(name))
		default:
			return nil, false
		}
	}
	return w.text(text.texts[len(text.parameters)]), true
}
