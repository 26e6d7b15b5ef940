package sql

import (
	"regexp"

	"github.com/hms-sme/policysync/pkg/connector"
)

// dependsOn reports whether an expression of the tree names the variable.
func dependsOn(tree *connector.Tree, variable string) bool {
	if tree.Expr != nil {
		return regexp.MustCompile(`(^|[^.\w])` + regexp.QuoteMeta(variable) + `\b`).MatchString(tree.Expr.Source)
	}
	for _, f := range tree.Fields {
		if dependsOn(f.Tree, variable) {
			return true
		}
	}
	return false
}

func kindOf(tree *connector.Tree) columnKind {
	return textColumn
}
