// Package mapping makes documents of events: it compiles the CEL expressions of
// the config against the Avro schemas, and evaluates them.
//
// It owns the language: which variables there are, how Avro types look in it, what
// a result becomes. Where expressions stand in the config is for package config,
// and what is done with a document for each connector.
//
// The variables are event (null on a tombstone), key, headers, topic, partition,
// offset and timestamp. A field of null is null; has(event.agent) tells whether a
// field is there and not null, and event.?agent.?email.orValue("none") gives another
// value in its place. Enums, uuids, dates (2006-01-02) and decimals (all their
// digits) are strings.
package mapping

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// Decl says how an expression is used.
type Decl struct {
	// Want is the kind of result: "bool", "int", "string", or empty for any.
	Want string
	// Vars are variables of any type beyond the standard ones.
	Vars []string
	// Loop is set if the expression is evaluated once per item of a list.
	Loop *Loop
}

// Loop gives the items of a list a name.
type Loop struct {
	List *connector.Expr
	Item string
	// Outer is the loop around the list's own expression.
	Outer *Loop
}

// Problem is a mistake in an expression.
type Problem struct {
	Place   connector.Place
	Message string
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
	e.Program = p
	if problems := p.parse(e); problems != nil {
		return problems
	}
	var problems []Problem
	for i, s := range schemas {
		c := p.compile(s)
		p.keep(s, c)
		for _, problem := range c.problems(e.Place) {
			if !slices.Contains(problems, problem) {
				problems = append(problems, problem)
			}
		}
		switch {
		case i == 0:
			e.Type = c.result
		case !sameType(e.Type, c.result):
			e.Type = nil
		}
	}
	return problems
}

// parse checks the syntax and finds out whether the event is used.
func (p *program) parse(e *connector.Expr) []Problem {
	env, err := baseEnv()
	if err != nil {
		return []Problem{{e.Place, err.Error()}}
	}
	parsed, issues := env.Parse(p.source)
	if issues.Err() != nil {
		return (&compiled{issues: issues}).problems(e.Place)
	}
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.IdentKind {
			e.UsesEvent = e.UsesEvent || p.reaches(x.AsIdent())
		}
	}))
	return nil
}

// reaches reports whether the variable is the event, or an item of a list that
// comes from it.
func (p *program) reaches(name string) bool {
	if name == "event" {
		return true
	}
	for l := p.decl.Loop; l != nil; l = l.Outer {
		if l.Item == name {
			return true
		}
	}
	return false
}

// baseEnv is what all expressions have in common.
var baseEnv = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.OptionalTypes(),
		ext.Strings(), ext.Lists(), ext.Sets(), ext.Math(),
		cel.CustomTypeAdapter(adapter{}),
		cel.Variable("key", cel.StringType),
		cel.Variable("headers", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("topic", cel.StringType),
		cel.Variable("partition", cel.IntType),
		cel.Variable("offset", cel.IntType),
		cel.Variable("timestamp", cel.TimestampType),
	)
})

// compiled is an expression for one schema.
type compiled struct {
	prg    cel.Program
	path   []string // the fast form of a bare field path; prg is nil then
	result *event.Type
	err    error
	issues *cel.Issues
	words  []string // what a misspelt name may have meant
}

// compile checks the expression against a schema, nil for a tombstone.
func (p *program) compile(s *event.Schema) *compiled {
	env, words, err := p.env(s)
	if err != nil {
		return &compiled{err: err}
	}
	checked, issues := env.Compile(p.source)
	if err := issues.Err(); err != nil {
		return &compiled{err: err, issues: issues, words: words}
	}
	out := checked.OutputType()
	if err := p.wanted(out); err != nil {
		return &compiled{err: err}
	}
	if c := p.fieldPath(checked.NativeRep().Expr(), s); c != nil {
		return c
	}
	prg, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return &compiled{err: err}
	}
	return &compiled{prg: prg, result: avroType(out)}
}

// env declares the event, the loops' items and the extra variables.
func (p *program) env(s *event.Schema) (*cel.Env, []string, error) {
	base, err := baseEnv()
	if err != nil {
		return nil, nil, err
	}
	provider := newProvider(base.CELTypeProvider(), s)
	words := []string{"event", "key", "headers", "topic", "partition", "offset", "timestamp"}
	for name := range provider.records {
		fields, _ := provider.FindStructFieldNames(name)
		words = append(words, fields...)
	}
	root := cel.DynType
	if s != nil {
		root = celType(s.Root)
	}
	options := []cel.EnvOption{cel.CustomTypeProvider(provider), cel.Variable("event", root)}
	for _, name := range p.decl.Vars {
		options, words = append(options, cel.Variable(name, cel.DynType)), append(words, name)
	}
	for l := p.decl.Loop; l != nil; l = l.Outer {
		item, err := itemType(l, s)
		if err != nil {
			return nil, nil, err
		}
		options, words = append(options, cel.Variable(l.Item, item)), append(words, l.Item)
	}
	env, err := base.Extend(options...)
	return env, words, err
}

// itemType is the type of the items of a loop's list.
func itemType(l *Loop, s *event.Schema) (*types.Type, error) {
	list := program{source: l.List.Source, decl: Decl{Loop: l.Outer}}
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
		return nil, fmt.Errorf("%s is %s, want a list", l.List.Source, t)
	}
}

// wanted checks the kind of result.
func (p *program) wanted(t *types.Type) error {
	want, ok := map[string]*types.Type{"bool": cel.BoolType, "int": cel.IntType, "string": cel.StringType}[p.decl.Want]
	if !ok || t.Kind() == types.DynKind || t.IsExactType(want) {
		return nil
	}
	return fmt.Errorf("the expression is %s, want %s", t, p.decl.Want)
}

// fieldPath returns the fast form of event.a.b or item.a.b, the commonest of
// expressions: it walks the objects, and gives dates and decimals as they are.
func (p *program) fieldPath(e ast.Expr, s *event.Schema) *compiled {
	if s == nil {
		return nil
	}
	var path []string
	for ; e.Kind() == ast.SelectKind && !e.AsSelect().IsTestOnly(); e = e.AsSelect().Operand() {
		path = append(path, e.AsSelect().FieldName())
	}
	if len(path) == 0 || e.Kind() != ast.IdentKind {
		return nil
	}
	t := s.Root
	if root := e.AsIdent(); root != "event" {
		if t = p.itemOf(root, s); t == nil {
			return nil
		}
	}
	slices.Reverse(path)
	for _, name := range path {
		inner, _ := t.Nullable()
		f := inner.Field(name)
		if inner.Kind != event.Rec || f == nil {
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

// itemOf is the Avro type of a loop's items, nil if it is not that of a plain field.
func (p *program) itemOf(name string, s *event.Schema) *event.Type {
	for l := p.decl.Loop; l != nil; l = l.Outer {
		if l.Item != name {
			continue
		}
		list := program{source: l.List.Source, decl: Decl{Loop: l.Outer}}
		c := list.compile(s)
		if c.path == nil || c.result == nil || c.result.Kind != event.Array {
			return nil
		}
		return c.result.Items
	}
	return nil
}

// problems says what is wrong, at the place of the fault.
func (c *compiled) problems(at connector.Place) []Problem {
	if c.issues == nil {
		if c.err == nil {
			return nil
		}
		return []Problem{{at, c.err.Error()}}
	}
	var problems []Problem
	for _, e := range c.issues.Errors() {
		place := at
		if e.Location.Line() > 1 {
			place.Line += e.Location.Line() - 1
			place.Column = e.Location.Column() + 1
		} else {
			place.Column += max(0, e.Location.Column())
		}
		problems = append(problems, Problem{place, e.Message + c.meant(e.Message)})
	}
	return problems
}

// meant looks up the word that a message quotes among those that there are.
func (c *compiled) meant(message string) string {
	_, rest, _ := strings.Cut(message, "'")
	word, _, ok := strings.Cut(rest, "'")
	if !ok || slices.Contains(c.words, word) {
		return ""
	}
	if near := Nearest(word, c.words); near != "" && !strings.Contains(message, "did you mean") {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// sameType reports whether two types make the same column.
func sameType(a, b *event.Type) bool {
	if a == nil || b == nil {
		return a == b
	}
	return cmp.Compare(a.Kind, b.Kind) == 0 && a.Logical == b.Logical && a.Precision == b.Precision && a.Scale == b.Scale
}

// errNotBool is an untyped filter's answer that is neither true nor false.
var errNotBool = errors.New("the result is not true or false")
