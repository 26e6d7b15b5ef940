package http

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// path is a compiled expression that names a variable or a field of one.
type path string

func (p path) Eval(s connector.Scope) (any, error) {
	variable, field, _ := strings.Cut(string(p), ".")
	switch variable {
	case "key":
		return s.Event.Key, nil
	case "event":
		if v, ok := s.Event.Value.Get(field); ok {
			return v, nil
		}
	case "result":
		if fields, ok := s.Locals["result"].(map[string]any); ok && fields[field] != nil {
			return fields[field], nil
		}
	case "response":
		if field == "" {
			return s.Locals["response"], nil
		}
		if fields, ok := s.Locals["response"].(map[string]any); ok && fields[field] != nil {
			return fields[field], nil
		}
	}
	return nil, fmt.Errorf("%s: no such field", p)
}

func expr(source string) *connector.Expr {
	return &connector.Expr{
		Source: source, Program: path(source), UsesEvent: strings.HasPrefix(source, "event"),
		Place: connector.Place{Path: "here"},
	}
}

var braces = regexp.MustCompile(`\{[^}]*\}`)

func text(source string) *connector.Text {
	t := &connector.Text{Source: source, Place: connector.Place{Path: "here"}}
	end := 0
	for _, at := range braces.FindAllStringIndex(source, -1) {
		if at[0] > end {
			t.Parts = append(t.Parts, connector.Part{Literal: source[end:at[0]]})
		}
		t.Parts = append(t.Parts, connector.Part{Expr: expr(source[at[0]+1 : at[1]-1])})
		end = at[1]
	}
	if end < len(source) {
		t.Parts = append(t.Parts, connector.Part{Literal: source[end:]})
	}
	return t
}

func tree(fields ...string) *connector.Tree {
	t := &connector.Tree{}
	for _, f := range fields {
		name, source, _ := strings.Cut(f, ": ")
		t.Fields = append(t.Fields, connector.Branch{Name: name, Tree: &connector.Tree{Expr: expr(source)}})
	}
	return t
}

func upsertOf(key string, fields ...any) *connector.Delivery {
	value := &event.Object{}
	for i := 0; i < len(fields); i += 2 {
		value.Add(fields[i].(string), fields[i+1])
	}
	return &connector.Delivery{
		ID: "topic/0/7/target", Key: key, Op: connector.Upsert, Attempt: 1,
		Version: connector.Version{Value: 3, Known: true},
		Event:   &event.Event{Record: &event.Record{Value: []byte{0}}, Key: key, HasKey: true, Value: value},
	}
}

func deleteOf(key string) *connector.Delivery {
	return &connector.Delivery{
		ID: "topic/0/8/target", Key: key, Op: connector.Delete, Attempt: 1,
		Event: &event.Event{Record: &event.Record{}, Key: key, HasKey: true},
	}
}
