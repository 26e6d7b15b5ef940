package mapping

import (
	"slices"

	"cel.dev/cel-go/common/ast"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// fieldPath returns the fast form of event.a.b or item.a.b, the commonest of
// expressions: it walks the objects, and gives dates and decimals as they are. It
// is nil for any other expression.
func (p *program) fieldPath(e ast.Expr, s *event.Schema) *compiled {
	var path []string
	for ; e.Kind() == ast.SelectKind && !e.AsSelect().IsTestOnly(); e = e.AsSelect().Operand() {
		path = append(path, e.AsSelect().FieldName())
	}
	if e.Kind() != ast.IdentKind {
		return nil
	}
	t := p.rootType(e.AsIdent(), s)
	if t == nil {
		return nil
	}
	slices.Reverse(path)
	for _, name := range path {
		inner, _ := t.Nullable()
		f := inner.Field(name)
		if f == nil {
			return nil // a map, or a union that only the value decides
		}
		t = f.Type
	}
	result, _ := t.Nullable()
	if result.Kind == event.Union {
		result = nil
	}
	return &compiled{path: append([]string{e.AsIdent()}, path...), result: result}
}

// rootType is the Avro type of a variable; nil if it has none.
func (p *program) rootType(name string, s *event.Schema) *event.Type {
	l := p.decl.Loop.named(name)
	switch {
	case l == nil && name == "event":
		return s.Root
	case l == nil:
		return nil
	}
	list := program{source: l.List.Source, decl: Decl{Loop: l.Outer, Lookups: p.decl.Lookups}}
	if c := list.compile(s); c.result != nil && c.result.Kind == event.Array {
		return c.result.Items
	}
	return nil
}

// walk follows a field path. A null on the way makes the whole null.
func walk(path []string, s connector.Scope) (any, error) {
	var v any = s.Event.Value
	if path[0] != "event" {
		v = s.Locals[path[0]]
	}
	for _, name := range path[1:] {
		var err error
		if v, err = fieldOf(v, name); err != nil {
			return nil, err
		}
	}
	return v, nil
}
