package connector

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hms-sme/policysync/pkg/event"
)

// Place is where in the config something stands, for messages.
type Place struct {
	File string
	// Path is the way down the YAML, such as targets.caseApi.update.url.
	Path         string
	Line, Column int
}

// Scope is what an expression sees of a delivery.
type Scope struct {
	Event *event.Event
	// Locals are variables beyond the standard ones: the item of an `each`, the
	// `response` of a call.
	Locals map[string]any
}

// Program is a compiled expression. It is safe for concurrent use.
type Program interface {
	// Eval returns a value as package event defines them. Its error is permanent:
	// it comes from this event's values.
	Eval(s Scope) (any, error)
}

// Expr is a CEL expression in the config. The config decoder fills Source and
// Place, package mapping compiles it.
type Expr struct {
	Source  string
	Place   Place
	Program Program
	// Type is the type that every value of the expression has, unless it is null. It
	// is nil where that is not known before the values come: the schema is not
	// registered yet, or the schemas of several topics disagree.
	Type *event.Type
	// UsesEvent reports, once compiled, that the expression refers to the event,
	// which is null on a tombstone.
	UsesEvent bool
}

// IsZero reports whether the config gave no expression.
func (e *Expr) IsZero() bool { return e == nil || e.Source == "" }

// Eval evaluates the expression, which must have been compiled.
func (e *Expr) Eval(s Scope) (any, error) {
	v, err := e.Program.Eval(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Place.Path, err)
	}
	return v, nil
}

// Text is text with {expression} parts. {{ and }} stand for braces.
type Text struct {
	Source string
	Place  Place
	Parts  []Part
}

// Part is a literal, or an expression if Expr is set.
type Part struct {
	Literal string
	Expr    *Expr
}

// IsZero reports whether the config gave no text.
func (t *Text) IsZero() bool { return t == nil || t.Source == "" }

// Constant reports whether the text has no expressions.
func (t *Text) Constant() bool {
	for _, p := range t.Parts {
		if p.Expr != nil {
			return false
		}
	}
	return true
}

// UsesEvent reports, once compiled, whether a part refers to the event.
func (t *Text) UsesEvent() bool {
	return slices.ContainsFunc(t.Parts, func(p Part) bool { return p.Expr != nil && p.Expr.UsesEvent })
}

// Render evaluates the parts and joins them. Escape, if not nil, makes each
// expression's text fit for its place: it is told what stands before it. A part
// that is null or not a scalar is an error: it would make a URL or a header that
// means something else.
func (t *Text) Render(s Scope, escape func(before, text string) (string, error)) (string, error) {
	var b strings.Builder
	for _, p := range t.Parts {
		if p.Expr == nil {
			b.WriteString(p.Literal)
			continue
		}
		v, err := p.Expr.Eval(s)
		if err != nil {
			return "", err
		}
		text, err := event.Text(v)
		if err == nil && escape != nil {
			text, err = escape(b.String(), text)
		}
		if err != nil {
			return "", fmt.Errorf("%s: {%s}: %w", t.Place.Path, p.Expr.Source, err)
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// Tree is a `map`: a tree whose leaves are expressions or constants, or one
// expression for the whole document. Exactly one of Expr, Const and Fields is set
// (Const counts as set if IsConst).
type Tree struct {
	Place   Place
	Expr    *Expr
	Const   any
	IsConst bool
	Fields  []Branch
	// names are those of Fields, made at the first Eval, which all documents share.
	names atomic.Pointer[[]string]
}

// Branch is a named subtree. The order of the YAML is kept.
type Branch struct {
	Name string
	Tree *Tree
}

// IsZero reports whether the config gave no map.
func (t *Tree) IsZero() bool {
	return t == nil || (t.Expr == nil && !t.IsConst && t.Fields == nil)
}

// Type is the static type of the values, without null; nil where only the values tell.
func (t *Tree) Type() *event.Type {
	switch {
	case t.Fields != nil:
		return &event.Type{Kind: event.Rec}
	case t.Expr != nil && t.Expr.Type != nil:
		typ, _ := t.Expr.Type.Nullable()
		return typ
	}
	switch t.Const.(type) {
	case bool:
		return &event.Type{Kind: event.Boolean}
	case int64:
		return &event.Type{Kind: event.Long}
	case float64:
		return &event.Type{Kind: event.Double}
	}
	return nil
}

// Eval makes the document: an *event.Object for a tree with fields, else the value
// of the leaf.
func (t *Tree) Eval(s Scope) (any, error) {
	switch {
	case t.Expr != nil:
		return t.Expr.Eval(s)
	case t.IsConst:
		return t.Const, nil
	}
	names := t.names.Load()
	if names == nil {
		own := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			own[i] = f.Name
		}
		names = &own
		t.names.Store(names)
	}
	o := &event.Object{Names: *names, Values: make([]any, len(t.Fields))}
	for i, f := range t.Fields {
		var err error
		if o.Values[i], err = f.Tree.Eval(s); err != nil {
			return nil, err
		}
	}
	return o, nil
}
