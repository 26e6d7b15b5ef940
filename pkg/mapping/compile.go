// Package mapping makes documents of events: it compiles the CEL expressions of
// the config against the Avro schemas, and evaluates them.
//
// It owns the language: which variables there are, how Avro types look in it, what
// a result becomes. Where expressions stand in the config is for package config,
// and what is done with a document for each connector.
//
// The variables are event (null on a tombstone), key, headers, topic, partition,
// offset, timestamp, and one per table of [Lookups]. Enums, uuids, dates (2006-01-02) and decimals (all their
// digits) are strings, a time of day is a duration since midnight. A union of null
// and one other type is that type, and may be null; any other union is checked when
// the value comes.
//
// A field of null is null. What may be null may be a result, and may be compared;
// elsewhere it needs a test before it, or a value in its place:
//
//	event.agent != null && event.agent.email.endsWith(".gov")
//	event.?agent.?email.orValue("none")
package mapping

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// Decl says how an expression is used.
type Decl struct {
	// Want is the kind of result: "bool", "int", "string", never null; or empty for
	// any.
	Want string
	// Vars are variables of any type beyond the standard ones.
	Vars []string
	// Loop is set if the expression is evaluated once per item of a list.
	Loop *Loop
	// Lookups are the tables of the config.
	Lookups Lookups
}

// Loop gives the items of a list a name.
type Loop struct {
	List *connector.Expr
	Item string
	// Outer is the loop around the list's own expression.
	Outer *Loop
}

// SchemaError reports an expression that does not compile for the schema of an
// event: the schema came after the config was loaded. It says nothing bad about the
// event, so its delivery is held.
type SchemaError struct {
	// ID is the registry's id of the schema, 0 if it has none.
	ID  int
	Err error
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("compile for schema id %d: %v", e.ID, e.Err)
}

// Unwrap returns the cause.
func (e *SchemaError) Unwrap() error { return e.Err }

// Compile sets e.Program, and what else of e is known once it is compiled. It
// checks the expression against each of the schemas and returns what is wrong with
// it. Without schemas it checks the syntax; the rest is checked when the first
// event of a schema comes.
func Compile(e *connector.Expr, d Decl, schemas []*event.Schema) []Problem {
	p := &program{source: e.Source, decl: d}
	e.Program, e.Type = p, nil
	if faults := p.parse(); faults != nil {
		return faults.at(e.Place)
	}
	e.UsesEvent = p.usesEvent
	var problems []Problem
	for i, s := range schemas {
		c := p.compile(s)
		p.keep(s, c)
		for _, problem := range c.faults.at(e.Place) {
			if !slices.Contains(problems, problem) {
				problems = append(problems, problem)
			}
		}
		if i == 0 {
			e.Type = c.result
		}
		e.Type = widest(e.Type, c.result)
	}
	return problems
}

// parse checks the syntax and finds out whether the event, or an item of it, is used.
func (p *program) parse() faults {
	env, err := baseEnv()
	if err != nil {
		return faults{{message: err.Error()}}
	}
	parsed, issues := env.Parse(p.source)
	if issues.Err() != nil {
		return explain(issues, nil, nil)
	}
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.IdentKind {
			p.usesEvent = p.usesEvent || x.AsIdent() == "event" || p.decl.Loop.named(x.AsIdent()) != nil
		}
	}))
	return nil
}

// named finds the loop whose items have the name, here or further out.
func (l *Loop) named(item string) *Loop {
	for ; l != nil; l = l.Outer {
		if l.Item == item {
			return l
		}
	}
	return nil
}

// compiled is an expression for one schema.
type compiled struct {
	prg cel.Program
	// path is the fast form of a bare field path; prg is nil then.
	path   []string
	result *event.Type
	faults faults
}

// compile checks the expression against a schema, nil for a tombstone. A tombstone
// has no types to check: event is null there, and only its own value.
func (p *program) compile(s *event.Schema) *compiled {
	env, provider, err := p.env(s)
	if err != nil {
		return &compiled{faults: faults{{message: err.Error()}}}
	}
	parsed, issues := env.Parse(p.source)
	if issues.Err() != nil {
		return &compiled{faults: explain(issues, nil, provider)}
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return &compiled{faults: explain(issues, parsed, provider)}
	}
	tree, out := checked.NativeRep(), checked.OutputType()
	if fault := p.wanted(out); fault != nil {
		return &compiled{faults: faults{*fault}}
	}
	if s != nil {
		if found := findNulls(tree, provider, p.decl.Want != ""); found != nil {
			return &compiled{faults: found}
		}
		if c := p.fieldPath(tree.Expr(), s); c != nil {
			return c
		}
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	for _, f := range regexFunctions {
		options = append(options, cel.OptimizeRegex(f.optimization()))
	}
	prg, err := env.Program(checked, options...)
	if err != nil {
		return &compiled{faults: faults{{message: err.Error()}}}
	}
	return &compiled{prg: prg, result: provider.avroType(out)}
}

// wanted checks the kind of result.
func (p *program) wanted(t *types.Type) *fault {
	want, ok := map[string]*types.Type{"bool": cel.BoolType, "int": cel.IntType, "string": cel.StringType}[p.decl.Want]
	if !ok || t.Kind() == types.DynKind || t.Kind() == want.Kind() {
		return nil
	}
	return &fault{message: fmt.Sprintf("the expression is %s, want %s", cel.FormatCELType(t), p.decl.Want)}
}

// widest is the type that holds what two schemas give, nil if none but text does.
func widest(a, b *event.Type) *event.Type {
	switch {
	case a == nil || b == nil, a.Logical != b.Logical, a.Precision != b.Precision, a.Scale != b.Scale:
		return nil
	case a.Kind == b.Kind, b.Kind == event.Int && a.Kind == event.Long, b.Kind == event.Float && a.Kind == event.Double:
		return a
	case a.Kind == event.Int && b.Kind == event.Long, a.Kind == event.Float && b.Kind == event.Double:
		return b
	}
	return nil
}
