package folder_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/examples/connector/folder"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
)

// document stands for a compiled map: the whole event.
type document struct{}

func (document) Eval(s connector.Scope) (any, error) { return s.Event.Value, nil }

func TestConformance(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{Guarded: true, New: func(t *testing.T) connectortest.System {
		path := filepath.Join(t.TempDir(), "policies")
		require.NoError(t, os.Mkdir(path, 0o700))
		c, err := folder.New(t.Context(), &folder.Config{
			Path: path, Map: &connector.Tree{Expr: &connector.Expr{Source: "event", Program: document{}}},
		}, connector.Env{Target: "site"})
		require.NoError(t, err)
		return connectortest.System{
			Connector: c,
			Applied:   func(t *testing.T) map[string]connectortest.Record { return read(t, path) },
			Fail: map[connector.Class]func(*testing.T) func(){
				connector.Unavailable: func(t *testing.T) func() {
					require.NoError(t, os.Rename(path, path+" away"))
					return func() { require.NoError(t, os.Rename(path+" away", path)) }
				},
			},
		}
	}})
}

// read reads the folder as a stranger would.
func read(t *testing.T, path string) map[string]connectortest.Record {
	files, err := os.ReadDir(path)
	require.NoError(t, err)
	held := map[string]connectortest.Record{}
	for _, f := range files {
		require.Equal(t, ".json", filepath.Ext(f.Name()), "a temporary file is left")
		text, err := os.ReadFile(filepath.Join(path, f.Name()))
		require.NoError(t, err)
		var file folder.File
		require.NoError(t, json.Unmarshal(text, &file))
		if file.Deleted {
			continue
		}
		var record connectortest.Record
		require.NoError(t, json.Unmarshal(file.Content, &record))
		held[file.Key] = record
	}
	return held
}
