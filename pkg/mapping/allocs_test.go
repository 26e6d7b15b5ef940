//go:build !race

package mapping

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/bench/allocs"
	"github.com/hms-sme/policysync/pkg/connector"
)

func TestAllocations(t *testing.T) {
	tree, ev := sixExpressions(t)
	var err error
	allocs.Check(t, "map", testing.AllocsPerRun(1000, func() { _, err = tree.Eval(connector.Scope{Event: ev}) }))
	require.NoError(t, err)
}
