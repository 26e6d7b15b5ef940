package mapping

import (
	"fmt"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/hms-sme/policysync/pkg/event"
)

// isNull is the function that a comparison with null is turned into: CEL itself
// compares null with some types only, and a list is not among them.
const isNull = "@is_null"

// baseEnv is what all expressions have in common.
var baseEnv = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.OptionalTypes(), cel.EnableIdentifierEscapeSyntax(), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.Macros(comparisonWithNull(operators.Equals), comparisonWithNull(operators.NotEquals)),
		cel.Function(isNull, cel.Overload("is_null_dyn", []*cel.Type{cel.DynType}, cel.BoolType, cel.UnaryBinding(testNull))),
		cel.CustomTypeAdapter(adapter{}),
		cel.Variable("key", cel.StringType),
		cel.Variable("headers", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("topic", cel.StringType),
		cel.Variable("partition", cel.IntType),
		cel.Variable("offset", cel.IntType),
		cel.Variable("timestamp", cel.TimestampType),
		cel.EagerlyValidateDeclarations(true),
	}
	for _, f := range regexFunctions {
		options = append(options, f.declare())
	}
	for function, overload := range zoned {
		options = append(options, inZone(function, overload))
	}
	return cel.NewEnv(append(options, functions...)...)
})

func comparisonWithNull(operator string) cel.Macro {
	return cel.GlobalMacro(operator, 2, func(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
		other := args[0]
		switch {
		case isNullLiteral(args[1]):
		case isNullLiteral(other):
			other = args[1]
		default:
			return nil, nil //nolint:nilnil // says that the macro does not apply
		}
		test := f.NewCall(isNull, other)
		if operator == operators.NotEquals {
			return f.NewCall(operators.LogicalNot, test), nil
		}
		return test, nil
	})
}

func isNullLiteral(e ast.Expr) bool {
	return e.Kind() == ast.LiteralKind && e.AsLiteral() == types.NullValue
}

// testNull takes an empty optional for null, too: as a result it becomes null.
func testNull(v ref.Val) ref.Val {
	if o, ok := v.(*types.Optional); ok {
		return types.Bool(!o.HasValue())
	}
	return types.Bool(v == types.NullValue)
}

// env declares the event, the loops' items and the extra variables.
func (p *program) env(s *event.Schema) (*cel.Env, *provider, error) {
	base, err := baseEnv()
	if err != nil {
		return nil, nil, err
	}
	provider := newProvider(base.CELTypeProvider(), s)
	root := cel.DynType
	if s != nil {
		root = celType(s.Root)
	}
	options := append(p.decl.Lookups.declare(), cel.CustomTypeProvider(provider), cel.Variable("event", root))
	for _, name := range p.decl.Vars {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	for l := p.decl.Loop; l != nil; l = l.Outer {
		item, err := p.itemType(l, s)
		if err != nil {
			return nil, nil, err
		}
		options = append(options, cel.Variable(l.Item, item))
	}
	env, err := base.Extend(options...)
	return env, provider, err
}

// itemType is the type of the items of a loop's list.
func (p *program) itemType(l *Loop, s *event.Schema) (*types.Type, error) {
	list := program{source: l.List.Source, decl: Decl{Loop: l.Outer, Lookups: p.decl.Lookups}}
	env, _, err := list.env(s)
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(l.List.Source)
	if issues.Err() != nil {
		return cel.DynType, nil //nolint:nilerr // it is reported at the list itself
	}
	t := checked.OutputType()
	switch t.Kind() {
	case types.ListKind:
		return t.Parameters()[0], nil
	case types.DynKind:
		return cel.DynType, nil
	default:
		return nil, fmt.Errorf("%s is %s, want a list", l.List.Source, cel.FormatCELType(t))
	}
}
