package sql

import (
	"regexp"
	"slices"

	"github.com/hms-sme/policysync/pkg/connector"
)

// expressions calls yield for each expression of the tree until it returns false.
func expressions(tree *connector.Tree, yield func(*connector.Expr) bool) bool {
	if tree.Expr != nil {
		return yield(tree.Expr)
	}
	for _, f := range tree.Fields {
		if !expressions(f.Tree, yield) {
			return false
		}
	}
	return true
}

// dependsOn reports whether an expression of the tree names the variable, outside
// of quotes and not as a field. It is asked before expressions are compiled.
func dependsOn(tree *connector.Tree, variable string) bool {
	names := regexp.MustCompile(`"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:^|[^.\w])(` + regexp.QuoteMeta(variable) + `)\b`)
	return !expressions(tree, func(e *connector.Expr) bool {
		return !slices.ContainsFunc(names.FindAllStringSubmatch(e.Source, -1), func(m []string) bool { return m[1] != "" })
	})
}

// usesEvent reports whether the tree has no value on a tombstone.
func usesEvent(tree *connector.Tree) bool {
	return !expressions(tree, func(e *connector.Expr) bool { return !e.UsesEvent })
}
