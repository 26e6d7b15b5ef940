package schemas_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/avro"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/event"
)

var update = flag.Bool("update", false, "write the Avro bytes of the golden records")

// TestGolden writes each golden record, here and with another library, and reads it
// as its own schema and as a reader schema.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ record, reader string }{
		{record: "policy_event", reader: "policy_event"},
		{record: "process_event", reader: "process_event"},
		{record: "policy_event_system_data", reader: "policy_event"},
		{record: "process_event_system_data", reader: "process_event"},
	} {
		t.Run(row.record, func(t *testing.T) {
			t.Parallel()
			text := read(t, row.record+".avsc")
			schema, err := event.ParseSchema(text)
			require.NoError(t, err)
			plain := strings.TrimSpace(read(t, "golden/"+row.record+".json"))

			e, err := decode.NewEncoder("none", schema)
			require.NoError(t, err)
			encoded, err := e.Encode([]byte(plain))
			require.NoError(t, err)
			path := filepath.Join("golden", row.record+".avro")
			if *update {
				require.NoError(t, os.WriteFile(path, encoded, 0o644))
			}
			require.Equal(t, []byte(read(t, path)), encoded)

			require.Equal(t, plain, decoded(t, decode.Config{File: row.record + ".avsc"}, encoded))

			projected := plain
			if row.record != row.reader {
				projected = strings.TrimSpace(read(t, "golden/"+row.record+".projected.json"))
			}
			reader := map[string]string{"events": row.reader + ".avsc"}
			require.Equal(t, projected, decoded(t, decode.Config{File: row.record + ".avsc", Reader: reader}, encoded))

			var value map[string]any
			require.NoError(t, json.Unmarshal([]byte(plain), &value))
			other, err := avro.MustParse(text).Encode(value)
			require.NoError(t, err)
			require.Equal(t, other, encoded)
		})
	}
}

func decoded(t *testing.T, cfg decode.Config, b []byte) string {
	t.Helper()
	cfg.Format = "none"
	d, err := decode.New(cfg, nil)
	require.NoError(t, err)
	v, _, err := d.Decode(t.Context(), &event.Record{Position: event.Position{Topic: "events"}, Value: b})
	require.NoError(t, err)
	text, err := v.MarshalJSON()
	require.NoError(t, err)
	return string(text)
}

// TestDocumented requires a doc on each field: the schemas are their own reference.
func TestDocumented(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("*.avsc")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		schema, err := event.ParseSchema(read(t, path))
		require.NoError(t, err)
		documented(t, path, schema.Root)
	}
}

func documented(t *testing.T, path string, typ *event.Type) {
	t.Helper()
	for _, f := range typ.Fields {
		require.NotEmpty(t, f.Doc, "%s: %s.%s", path, typ.Name, f.Name)
		documented(t, path, f.Type)
	}
	for _, b := range typ.Branches {
		documented(t, path, b)
	}
	if typ.Items != nil {
		documented(t, path, typ.Items)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}
