package mapping

import (
	"fmt"
	"maps"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// nulls looks for values that may be null where CEL would fail on a null. CEL's
// own types do not tell: to them a text that may be null is as good as any.
type nulls struct {
	tree     *ast.AST
	provider *provider
	found    faults
}

// findNulls returns the nulls of a checked expression that a value could bring to
// fail; with wanted, one that may be null itself.
func findNulls(tree *ast.AST, p *provider, wanted bool) faults {
	n := &nulls{tree: tree, provider: p}
	if wanted {
		n.demand(tree.Expr(), known{})
	} else {
		n.check(tree.Expr(), known{})
	}
	return n.found
}

// known says of paths, such as event.agent, whether they may be null, where
// something else than their types tells it: a test that goes before, or what a
// variable was made of.
type known map[string]bool

// and adds paths that are not null. If event.agent.email is not, neither is
// event.agent.
func (k known) and(paths []string) known {
	k = maps.Clone(k)
	for _, path := range paths {
		for path != "" {
			k[path] = false
			path = path[:max(0, strings.LastIndexByte(path, '.'))]
		}
	}
	return k
}

// with sets a variable, which hides another of its name.
func (k known) with(variable string, nullable bool) known {
	k = maps.Clone(k)
	maps.DeleteFunc(k, func(path string, _ bool) bool { return strings.HasPrefix(path, variable+".") })
	k[variable] = nullable
	return k
}

// demand reports e if it may be null.
func (n *nulls) demand(e ast.Expr, k known) {
	if n.check(e, k) {
		n.report(e)
	}
}

func (n *nulls) report(e ast.Expr) {
	what, hint := "this", ""
	if path := pathOf(e); path != "" {
		what = path
		if i := strings.LastIndexByte(path, '.'); i >= 0 {
			hint = fmt.Sprintf(": test %s != null before, or give a value in its place, as in %s.?%s.orValue(…)", path, path[:i], path[i+1:])
		}
	}
	at := n.tree.SourceInfo().GetStartLocation(e.ID())
	n.found = append(n.found, fault{max(0, at.Line()-1), max(0, at.Column()), what + " may be null here" + hint})
}

// check goes through e and tells whether it may be null.
func (n *nulls) check(e ast.Expr, k known) bool {
	switch e.Kind() {
	case ast.LiteralKind:
		return isNullLiteral(e)
	case ast.IdentKind:
		if nullable, ok := k[e.AsIdent()]; ok {
			return nullable
		}
		return mayBeNull(n.tree.GetType(e.ID()))
	case ast.SelectKind:
		return n.selection(e, k)
	case ast.CallKind:
		return n.call(e, k)
	case ast.ListKind:
		for _, item := range e.AsList().Elements() {
			n.check(item, k)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			n.demand(entry.AsMapEntry().Key(), k)
			n.check(entry.AsMapEntry().Value(), k)
		}
	case ast.ComprehensionKind:
		return n.comprehension(e.AsComprehension(), k)
	}
	return false
}

func (n *nulls) selection(e ast.Expr, k known) bool {
	s := e.AsSelect()
	operand := n.tree.GetType(s.Operand().ID())
	record := n.provider.records[operand.TypeName()]
	below := n.check(s.Operand(), k)
	if below && record == nil && !s.IsTestOnly() {
		n.report(s.Operand()) // a field of a null record is null, but an entry of a null map is an error
		return false
	}
	if s.IsTestOnly() {
		return false
	}
	if nullable, ok := k[pathOf(e)]; ok {
		return nullable
	}
	if record != nil {
		_, nullable := record.Field(s.FieldName()).Type.Nullable()
		return nullable || below
	}
	return operand.Kind() == types.MapKind && mayBeNull(operand.Parameters()[1])
}

func (n *nulls) call(e ast.Expr, k known) bool {
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case operators.LogicalAnd, operators.LogicalOr:
		for _, arg := range args {
			n.demand(arg, k)
			k = k.and(notNullIf(arg, call.FunctionName() == operators.LogicalAnd))
		}
		return false
	case operators.Conditional:
		n.demand(args[0], k)
		yes := n.check(args[1], k.and(notNullIf(args[0], true)))
		no := n.check(args[2], k.and(notNullIf(args[0], false)))
		return yes || no
	case isNull, operators.Equals, operators.NotEquals, operators.OptSelect, "optional.of", "optional.ofNonZeroValue", "dyn", "type":
		for _, arg := range args {
			n.check(arg, k)
		}
		return false
	case operators.In, operators.OldIn:
		n.check(args[0], k)
		n.demand(args[1], k)
		return false
	case operators.Index:
		n.demand(args[0], k)
		n.demand(args[1], k)
		return mayBeNull(n.tree.GetType(e.ID()))
	case "orValue":
		n.check(call.Target(), k)
		return n.check(args[0], k)
	}
	if call.IsMemberFunction() {
		n.demand(call.Target(), k)
	}
	for _, arg := range args {
		n.demand(arg, k)
	}
	return false
}

// comprehension is what all, exists, map, filter and bind are made of.
func (n *nulls) comprehension(c ast.ComprehensionExpr, k known) bool {
	n.demand(c.IterRange(), k)
	accu := n.check(c.AccuInit(), k)
	item := false
	if r := n.tree.GetType(c.IterRange().ID()); len(r.Parameters()) > 0 {
		item = mayBeNull(r.Parameters()[len(r.Parameters())-1])
	}
	inner := k
	switch isMap := n.tree.GetType(c.IterRange().ID()).Kind() == types.MapKind; {
	case c.HasIterVar2():
		inner = inner.with(c.IterVar(), false).with(c.IterVar2(), item)
	default:
		inner = inner.with(c.IterVar(), item && !isMap)
	}
	inner = inner.with(c.AccuVar(), accu)
	n.demand(c.LoopCondition(), inner)
	n.check(c.LoopStep(), inner)
	return n.check(c.Result(), k.with(c.AccuVar(), accu))
}

// notNullIf lists the paths that are not null if the condition has the outcome.
func notNullIf(cond ast.Expr, outcome bool) []string {
	switch {
	case cond.Kind() == ast.SelectKind && cond.AsSelect().IsTestOnly() && outcome:
		if path := pathOf(cond.AsSelect().Operand()); path != "" {
			return []string{path + "." + cond.AsSelect().FieldName()}
		}
	case isCall(cond, isNull) && !outcome:
		if path := pathOf(cond.AsCall().Args()[0]); path != "" {
			return []string{path}
		}
	case isCall(cond, operators.Equals) && outcome, isCall(cond, operators.NotEquals) && !outcome:
		a, b := cond.AsCall().Args()[0], cond.AsCall().Args()[1]
		if a.Kind() == ast.LiteralKind {
			a, b = b, a
		}
		if path := pathOf(a); path != "" && b.Kind() == ast.LiteralKind {
			return []string{path}
		}
	case isCall(cond, operators.LogicalNot):
		return notNullIf(cond.AsCall().Args()[0], !outcome)
	case isCall(cond, operators.LogicalAnd) && outcome, isCall(cond, operators.LogicalOr) && !outcome:
		var paths []string
		for _, arg := range cond.AsCall().Args() {
			paths = append(paths, notNullIf(arg, outcome)...)
		}
		return paths
	}
	return nil
}

// pathOf is the text of a variable or a field path, empty for anything else.
func pathOf(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent()
	case ast.SelectKind:
		if path := pathOf(e.AsSelect().Operand()); path != "" && !e.AsSelect().IsTestOnly() {
			return path + "." + e.AsSelect().FieldName()
		}
	}
	return ""
}

// mayBeNull tells it of a type that [celType] made.
func mayBeNull(t *types.Type) bool {
	return t.Kind() != types.DynKind && t.IsAssignableType(types.NullType)
}
