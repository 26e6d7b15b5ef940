//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/hms-sme/policysync/schemas"
)

// The registry's own rule says what could be the next version of a subject.
func TestSchemaCheckAsksTheRegistry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.configure(`  api: {connector: scheduling, url: "@api/v1/rules", timeout: 2s}`)
	registry, err := sr.NewClient(sr.URLs(address(t, "REGISTRY")))
	require.NoError(t, err)
	for _, result := range registry.SetCompatibility(t.Context(), sr.SetCompatibility{Level: sr.CompatBackward}, w.topic+"-value") {
		require.NoError(t, result.Err)
	}
	check := func(schema string) (string, error) {
		file := filepath.Join(t.TempDir(), "new.avsc")
		require.NoError(t, os.WriteFile(file, []byte(schema), 0o600))
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "policysync"), "schema", "check", "-c", w.file, file).CombinedOutput()
		return string(out), err
	}
	required := `{"name": "colour", "type": "string"}, {"name": "eventId"`
	optional := `{"name": "colour", "type": "string", "default": "none"}, {"name": "eventId"`
	out, err := check(strings.Replace(schemas.PolicyEvent, `{"name": "eventId"`, optional, 1))
	require.NoError(t, err, out)
	out, err = check(strings.Replace(schemas.PolicyEvent, `{"name": "eventId"`, required, 1))
	require.Error(t, err, out)
	require.Contains(t, out, "FAIL  registry: the registry would refuse it as the next version")
	t.Log(out)
}
