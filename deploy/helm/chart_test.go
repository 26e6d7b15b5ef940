// Package helm_test holds the parts of the chart that a rendering does not show
// against what they speak of: values against their schema and reference, alerts and
// dashboard against the metrics that there are. lint.sh renders the chart.
package helm_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/values.md anew")

const reference = "../../docs/values.md"

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

var metric = regexp.MustCompile(`\bpolicysync_[a-z_]+`)

// An alert on a metric that does not exist never fires.
func TestMetricsExist(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for _, name := range metric.FindAllString(string(read(t, "../../docs/metrics.md")), -1) {
		documented[name] = true
	}
	for _, path := range []string{
		"policysync/files/alerts.yaml", "policysync/files/dashboard.json", "policysync/templates/autoscaling.yaml", "policysync/values.yaml",
	} {
		names := metric.FindAllString(string(read(t, path)), -1)
		require.NotEmpty(t, names, path)
		for _, name := range names {
			require.True(t, documented[strings.TrimSuffix(name, "_bucket")], "%s: docs/metrics.md has no %s", path, name)
		}
	}
}

// The page says what to do about each alert.
func TestAlertsAreExplained(t *testing.T) {
	t.Parallel()
	page := string(read(t, "../../docs/runbook.md"))
	names := regexp.MustCompile(`(?m)^  - alert: (\w+)$`).FindAllSubmatch(read(t, "policysync/files/alerts.yaml"), -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		require.Contains(t, page, "\n## "+string(name[1])+"\n")
	}
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	var d struct {
		Panels []struct {
			ID      int
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(read(t, "policysync/files/dashboard.json"), &d))
	ids := map[int]bool{}
	for _, p := range d.Panels {
		require.False(t, ids[p.ID], "panel %d is there twice", p.ID)
		ids[p.ID] = true
		for _, target := range p.Targets {
			require.Contains(t, target.Expr, `job=~"$job"`, "panel %d", p.ID)
		}
	}
	require.NotEmpty(t, ids)
}

// A value that the schema lacks could not be set; one that only the schema has does nothing.
func TestSchemaHasEveryValue(t *testing.T) {
	t.Parallel()
	type node struct {
		Properties map[string]json.RawMessage
	}
	var check func(path string, raw []byte, values map[string]any)
	check = func(path string, raw []byte, values map[string]any) {
		var n node
		require.NoError(t, json.Unmarshal(raw, &n))
		if n.Properties == nil {
			return
		}
		delete(n.Properties, "global") // Helm's own, for a chart of charts
		require.Empty(t, cmp.Diff(slices.Sorted(maps.Keys(values)), slices.Sorted(maps.Keys(n.Properties))), path)
		for key, value := range values {
			if m, ok := value.(map[string]any); ok {
				check(path+"."+key, n.Properties[key], m)
			}
		}
	}
	var values map[string]any
	require.NoError(t, yaml.Unmarshal(read(t, "policysync/values.yaml"), &values))
	check("values", read(t, "policysync/values.schema.json"), values)
}

// A template without a unit test could be anything.
func TestEveryTemplateHasATest(t *testing.T) {
	t.Parallel()
	suites, err := filepath.Glob("policysync/tests/*_test.yaml")
	require.NoError(t, err)
	var named strings.Builder
	for _, path := range suites {
		named.Write(read(t, path))
	}
	templates, err := filepath.Glob("policysync/templates/[^_]*")
	require.NoError(t, err)
	require.NotEmpty(t, templates)
	for _, path := range templates {
		require.Contains(t, named.String(), filepath.Base(path))
	}
}

func TestValuesReference(t *testing.T) {
	t.Parallel()
	got := describe(t, read(t, "policysync/values.yaml"))
	if *update {
		require.NoError(t, os.WriteFile(reference, []byte(got), 0o644))
	}
	require.Empty(t, cmp.Diff(string(read(t, reference)), got), "run: make generate")
}

// describe writes the reference from values.yaml: a comment explains the value below it.
func describe(t *testing.T, values []byte) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Values of the chart\n\n" +
		"What can be set, from the comments of `deploy/helm/policysync/values.yaml`; `make generate` writes this page. A value\n" +
		"that is not listed is an error that names it. [kubernetes.md](kubernetes.md) shows how they go together.\n\n" +
		"| value | default | meaning |\n|---|---|---|\n")
	line := regexp.MustCompile(`^(\s*)(\w+):\s*(.*)$`)
	section, comment, inText := "", []string{}, false
	for text := range bytes.Lines(values) {
		s := strings.TrimRight(string(text), "\n")
		if inText = inText && strings.HasPrefix(s, "  "); inText {
			continue
		}
		if words, ok := strings.CutPrefix(strings.TrimSpace(s), "# "); ok && !strings.HasPrefix(words, "- {") {
			comment = append(comment, words)
			continue
		}
		m := line.FindStringSubmatch(s)
		switch {
		case m == nil:
			if strings.TrimSpace(s) == "" {
				comment = nil
			}
			continue
		case m[1] == "":
			section = m[2]
		case len(m[1]) == 2:
			section = strings.SplitN(section, ".", 2)[0] + "." + m[2]
		default:
			parts := strings.Split(section, ".")
			section = strings.Join(append(parts[:min(2, len(parts))], m[2]), ".")
		}
		fallback := ""
		switch inText = m[3] == "|"; {
		case inText:
			fallback = "an example"
		case m[3] != "":
			fallback = "`" + m[3] + "`"
		}
		if fallback != "" || len(comment) > 0 {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", section, fallback, strings.ReplaceAll(strings.Join(comment, " "), "|", `\|`))
		}
		comment = nil
	}
	return b.String()
}
