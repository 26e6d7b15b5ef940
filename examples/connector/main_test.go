package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The binary has the whole command line, and the connector in it.
func TestMaps(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "policysync")
	build := exec.Command("go", "build", "-mod=mod", "-o", binary, ".")
	build.Stderr = os.Stderr
	require.NoError(t, build.Run())
	out, err := exec.Command(binary, "map", "-c", "policysync.yaml", "--target", "site", "--event", "event.json").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), `"title": "Weekend Inspections"`)
}
