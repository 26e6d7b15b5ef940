package mapping

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Problem is a mistake in an expression.
type Problem struct {
	Place   connector.Place
	Message string
}

// fault is a mistake at a place in the text of an expression.
type fault struct {
	// line counts from 0, column from 0 in characters.
	line, column int
	message      string
}

type faults []fault

// at makes problems of the faults of an expression that begins at the place.
func (fs faults) at(place connector.Place) []Problem {
	problems := make([]Problem, len(fs))
	for i, f := range fs {
		p := Problem{Place: place, Message: f.message}
		if f.line > 0 {
			p.Place.Line += f.line
			p.Place.Column = f.column + 1
		} else {
			p.Place.Column += f.column
		}
		problems[i] = p
	}
	return problems
}

// err is nil without faults.
func (fs faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	texts := make([]string, len(fs))
	for i, f := range fs {
		texts[i] = f.message
	}
	return errors.New(strings.Join(texts, "; "))
}

// nullable is how CEL prints a type that may be null.
var nullable = regexp.MustCompile(`wrapper\((\w+)\)`)

// explain makes faults of what the parser or the checker found. The tree is what
// was checked, nil if it did not parse.
func explain(issues *cel.Issues, tree *cel.Ast, p *provider) faults {
	nodes := map[int64]ast.Expr{}
	if tree != nil {
		ast.PreOrderVisit(tree.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) { nodes[e.ID()] = e }))
	}
	var fs faults
	for _, issue := range issues.Errors() {
		message := nullable.ReplaceAllString(issue.Message, "$1 or null")
		if name := fieldName(nodes[issue.ExprID]); p != nil && p.missing[name] != nil {
			if near := Nearest(name, p.missing[name]); near != "" {
				message += fmt.Sprintf("; did you mean %q?", near)
			}
		}
		fs = append(fs, fault{max(0, issue.Location.Line()-1), max(0, issue.Location.Column()), message})
	}
	return fs
}

// fieldName is the field that a node selects, empty if it is no selection.
func fieldName(e ast.Expr) string {
	switch {
	case e == nil:
	case e.Kind() == ast.SelectKind:
		return e.AsSelect().FieldName()
	case isCall(e, operators.OptSelect):
		name, _ := e.AsCall().Args()[1].AsLiteral().Value().(string)
		return name
	}
	return ""
}

func isCall(e ast.Expr, function string) bool {
	return e.Kind() == ast.CallKind && e.AsCall().FunctionName() == function
}
