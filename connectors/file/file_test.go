package file

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
	"github.com/hms-sme/policysync/pkg/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newConnector(t *testing.T, path string) *Connector {
	t.Helper()
	c, err := New(t.Context(), &Config{Path: path}, connector.Env{})
	require.NoError(t, err)
	return c.(*Connector)
}

type line struct {
	Op       connector.Op
	Key      string
	Document json.RawMessage
}

// read folds the lines of the file by key, as a reader does; a line that is not
// JSON is skipped.
func read(t *testing.T, path string) (lines []line, held map[string]connectortest.Record) {
	t.Helper()
	held = map[string]connectortest.Record{}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, held
	}
	require.NoError(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var l line
		if json.Unmarshal(s.Bytes(), &l) != nil {
			continue
		}
		lines = append(lines, l)
		if l.Op == connector.Delete {
			delete(held, l.Key)
			continue
		}
		var r connectortest.Record
		require.NoError(t, json.Unmarshal(l.Document, &r))
		held[l.Key] = r
	}
	return lines, held
}

func TestConformance(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{New: func(t *testing.T) connectortest.System {
		dir := filepath.Join(t.TempDir(), "out")
		require.NoError(t, os.Mkdir(dir, 0o700))
		c := newConnector(t, filepath.Join(dir, "policies.jsonl"))
		return connectortest.System{
			Connector: c,
			Applied: func(t *testing.T) map[string]connectortest.Record {
				_, held := read(t, c.path)
				return held
			},
			Fail: map[connector.Class]func(*testing.T) func(){
				connector.Unavailable: func(t *testing.T) func() {
					require.NoError(t, os.Rename(dir, dir+".away"))
					return func() { require.NoError(t, os.Rename(dir+".away", dir)) }
				},
			},
			Stall: func(t *testing.T) <-chan struct{} {
				c.turn <- struct{}{} // as a disk that is slow with another append
				t.Cleanup(func() { <-c.turn })
				arrived := make(chan struct{})
				close(arrived)
				return arrived
			},
		}
	}})
}

func TestLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "policies.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(`{"id": "cut sho`), 0o600))
	c := newConnector(t, path)
	up := &connector.Delivery{
		ID: "1", Key: "P-1", Op: connector.Upsert, Version: connector.Version{Value: 3, Known: true},
		Event: &event.Event{Value: &event.Object{Names: []string{"title", "n"}, Values: []any{"<b>", int64(1<<60 + 1)}}},
	}
	down := &connector.Delivery{ID: "2", Key: "P-1", Op: connector.Delete, Event: &event.Event{}}
	for _, d := range []*connector.Delivery{up, down} {
		require.NoError(t, c.Prepare(d))
		_, err := c.Push(t.Context(), d)
		require.NoError(t, err)
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, []string{
		`{"id": "cut sho`,
		`{"id":"1","op":"upsert","key":"P-1","version":3,"document":{"title":"<b>","n":1152921504606846977}}`,
		`{"id":"2","op":"delete","key":"P-1"}`,
		``,
	}, strings.Split(string(got), "\n"))

	require.NoError(t, os.Rename(path, path+".1")) // rotated
	_, err = c.Push(t.Context(), up)
	require.NoError(t, err)
	lines, _ := read(t, path)
	require.Len(t, lines, 1)

	d := &connector.Delivery{Op: connector.Upsert, Event: &event.Event{Value: &event.Object{
		Names: []string{"f"}, Values: []any{struct{}{}},
	}}}
	require.ErrorContains(t, c.Prepare(d), "write line: document: f: write struct {} as JSON")
}
