package connectors

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/schemas"
)

var update = flag.Bool("update", false, "write the options in docs anew")

// The tables of options stand between these lines of a page.
const (
	optionsBegin = "<!-- options: written by `make generate` -->\n"
	optionsEnd   = "<!-- end of options -->\n"
)

// pages returns the text of docs/connectors/KIND.md by kind.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../docs/connectors/*.md")
	require.NoError(t, err)
	texts := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		texts[strings.TrimSuffix(filepath.Base(file), ".md")] = string(text)
	}
	require.NotEmpty(t, texts)
	return texts
}

// TestOptionsDocument holds that the table of options in each page is what the
// config structs of its connector say.
func TestOptionsDocument(t *testing.T) {
	t.Parallel()
	kinds := Builtin()
	for name := range pages(t) {
		kind, ok := kinds[name]
		require.True(t, ok, "docs/connectors/%s.md is about no connector", name)
		requireOptions(t, "../docs/connectors/"+name+".md", kind.Config())
	}
	requireOptions(t, "../docs/configuration.md", &config.Config{}, &config.Target{})
}

// requireOptions holds that the page has a table of options per config struct, or
// writes them.
func requireOptions(t *testing.T, page string, structs ...any) {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	want, rest := "", string(text)
	for _, s := range structs {
		head, below, begun := strings.Cut(rest, optionsBegin)
		_, tail, ended := strings.Cut(below, optionsEnd)
		require.True(t, begun && ended, "%s has no place for the options", page)
		want, rest = want+head+optionsBegin+optionsOf(t, s)+optionsEnd, tail
	}
	want += rest
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(text), "%s is stale: run make generate", page)
}

// exampleHead is what the examples of the pages leave out.
const exampleHead = `kafka: {brokers: ["localhost:9092"], group: policysync, topics: [policy-events]}
schemas: {registry: {url: "http://localhost:8081"}}
`

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestDocumentExamples holds that each example of the pages loads and fits the
// shipped schema.
func TestDocumentExamples(t *testing.T) {
	t.Parallel()
	schema, err := event.ParseSchema(schemas.PolicyEvent)
	require.NoError(t, err)
	for name, text := range pages(t) {
		examples := yamlBlock.FindAllStringSubmatch(text, -1)
		require.NotEmpty(t, examples, "docs/connectors/%s.md has no example", name)
		for _, example := range examples {
			file := filepath.Join(t.TempDir(), name+".yaml")
			require.NoError(t, os.WriteFile(file, []byte(exampleHead+example[1]), 0o600))
			c, err := config.Load(file, Builtin())
			require.NoError(t, err)
			require.NoError(t, c.Compile(map[string][]*event.Schema{"policy-events": {schema}}))
		}
	}
}
