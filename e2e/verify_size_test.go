//go:build e2e

package e2e

import (
	"encoding/json"
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var policiesToVerify = flag.Int("policies", 10_000, "how many policies are compared with PostgreSQL to measure verify")

// Verify keeps the places and hashes of the policies, and a thousand documents at a time.
// Of few policies its memory says nothing: it reads faster than garbage is collected.
// docs/verify.md has the figures of a run with -policies 100000.
func TestVerifyManyPolicies(t *testing.T) {
	policies := *policiesToVerify
	w := newWorld(t, 4)
	w.configure(`
  database: {connector: sql, dsn: "${POLICYSYNC_E2E_POSTGRES}", schema: create, timeout: 4s, batch: {size: 500, linger: 50ms}, concurrency: 8, tables: {
    policies_@id: {key: [id], version_column: version, map: {id: key, name: event.payload.name, at: event.occurredAt, rules: event.payload.rules}}}}
`)
	w.start()
	w.publish(policies, 1, 2)
	w.settles(5 * time.Minute)

	c := exec.CommandContext(t.Context(), filepath.Join(bin, "policysync"), "verify", "-c", w.file, "--target", "database", "--json")
	var stderr strings.Builder
	c.Stderr = &stderr
	began := time.Now()
	out, err := c.Output()
	require.NoError(t, err, "%s", stderr.String())
	took := time.Since(began)
	var sum struct{ Keys, Records, Left int }
	require.NoError(t, json.Unmarshal(out, &sum))
	require.Equal(t, policies, sum.Keys)
	require.Zero(t, sum.Left)
	peak := int(c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) << 10
	t.Logf("%d policies in %d records compared with PostgreSQL in %s; peak resident memory %d MiB", sum.Keys, sum.Records, took.Round(100*time.Millisecond), peak>>20)
	if policies >= 100_000 {
		require.Less(t, peak, 192<<20)
	}
}
