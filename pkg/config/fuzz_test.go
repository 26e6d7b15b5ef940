package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzLoad holds that no text makes Load panic or hang, and that a secret which
// was read as one is in no message.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/mistakes/*.yaml")
	require.NoError(f, err)
	for _, file := range append(files, "../../examples/policysync.yaml") {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := load("fuzz.yaml", []byte(text), hooks(), environment)
		if err != nil {
			require.NotEmpty(t, err.Error())
		}
		if c == nil {
			require.Error(t, err)
			return
		}
		for _, target := range c.Targets {
			spec, ok := target.Spec.(*hookConfig)
			if !ok {
				continue
			}
			token, _ := spec.Auth.Bearer.Reveal()
			if err != nil && len(token) > 12 && strings.Count(text, token) == 1 {
				require.NotContains(t, err.Error(), token)
			}
		}
	})
}
