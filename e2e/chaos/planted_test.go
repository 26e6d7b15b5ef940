//go:build e2e

package chaos

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bugs are the patches in directory planted, by name, with the rules of which the
// checker must find one broken, under a seed that is known to do it.
var bugs = map[string]struct {
	seed  uint64
	rules []string
}{
	"commit-one-too-far":   {1, []string{early}},
	"attach-misses-one":    {1, []string{early, lost, stuck}},
	"revoke-without-drain": {1, []string{early, lost}},
	"settle-before-push":   {1, []string{early}},
	"keys-in-parallel":     {1, []string{together, misordered}},
	"runs-forgotten":       {1, []string{repeated}},
	"key-per-attempt":      {1, []string{altered}},
	"no-fence":             {119, []string{unfenced}},
	"receipt-before-push":  {1, []string{unproven}},
}

// TestPlanted proves that the checker finds bugs: it puts each into a copy of the
// product and lets the schedule loose on that. Without -planted it only sees to it
// that the patches still fit.
func TestPlanted(t *testing.T) {
	patches, err := filepath.Glob("planted/*.patch")
	require.NoError(t, err)
	require.Len(t, patches, len(bugs))
	for _, name := range slices.Sorted(maps.Keys(bugs)) {
		bug := bugs[name]
		t.Run(name, func(t *testing.T) {
			tree := plant(t, name)
			if !*planted {
				return
			}
			binary, begun := build(t, tree), time.Now()
			h := unleash(t, binary, bug.seed, 25*time.Second)
			found := map[string]int{}
			for _, f := range h.check() {
				if found[f.rule]++; found[f.rule] <= 2 {
					t.Logf("found %s: %s", f.rule, f.text)
				}
			}
			hits := 0
			for _, rule := range bug.rules {
				hits += found[rule]
			}
			require.Positive(t, hits, "the bug was not found")
			t.Logf("found after %.0fs with seed %d: %s", time.Since(begun).Seconds(), bug.seed, counts(found))
		})
	}
}

// plant returns a copy of the product's tree with the bug in it.
func plant(t *testing.T, name string) string {
	t.Helper()
	patch, err := filepath.Abs(filepath.Join("planted", name+".patch"))
	require.NoError(t, err)
	tree := t.TempDir()
	for _, part := range []string{"cmd", "connectors", "pkg", "schemas"} {
		require.NoError(t, os.CopyFS(filepath.Join(tree, part), os.DirFS(filepath.Join("../..", part))))
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join("../..", file))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(tree, file), b, 0o600))
	}
	apply := exec.Command("git", "apply", patch)
	apply.Dir = tree
	out, err := apply.CombinedOutput()
	require.NoError(t, err, "the patch no longer fits the product: %s", out)
	return tree
}
