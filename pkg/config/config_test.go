package config

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/connectors"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/httpclient"
	"github.com/hms-sme/policysync/schemas"
)

var update = flag.Bool("update", false, "write the golden files")

// hookConfig has a field of every shape that a connector may ask for.
type hookConfig struct {
	httpclient.Config `yaml:",inline"`
	URL               *connector.Text                    `yaml:"url" required:"true"`
	Map               *connector.Tree                    `yaml:"map"`
	Headers           []connector.Named[*connector.Text] `yaml:"headers"`
	Reference         *connector.Expr                    `yaml:"reference" vars:"response"`
	Tables            []connector.Named[hookTable]       `yaml:"tables"`
	Signing           hookSigning                        `yaml:"signing"`
	Labels            map[string]string                  `yaml:"labels"`
	Limit             *connector.Bytes                   `yaml:"limit" max:"1MiB"`
}

type hookTable struct {
	Key  []string        `yaml:"key" required:"true"`
	Each *connector.Expr `yaml:"each"`
	As   string          `yaml:"as" default:"item"`
	Map  *connector.Tree `yaml:"map"`
}

func (t *hookTable) Loop() (*connector.Expr, string) { return t.Each, t.As }

type hookSigning struct {
	Secrets []connector.Secret `yaml:"secrets"`
}

func (c *hookConfig) SetDefaults() {
	if c.Map == nil {
		c.Map = &connector.Tree{Expr: &connector.Expr{Source: "event"}}
	}
}

func (c *hookConfig) Validate() []connector.Mistake {
	if c.URL != nil && !strings.HasPrefix(c.URL.Source, "http") {
		return []connector.Mistake{{Path: "url", Message: fmt.Sprintf("%q is no URL", c.URL.Source)}}
	}
	return nil
}

func hooks() connector.Registry {
	kind := connector.KindOf(func(context.Context, *hookConfig, connector.Env) (connector.Connector, error) {
		return nil, errors.New("not made in this test")
	})
	batching := kind
	batching.BatchSize, batching.BatchLinger = 500, time.Second
	return connector.Registry{"hook": kind, "bulk": batching}
}

// head is a file that lacks nothing but targets.
const head = `kafka: {brokers: ["b:9092"], group: g, topics: [policies, processes]}
schemas: {registry: {url: "http://registry"}}
targets:
`

func environment(name string) (string, bool) {
	v, ok := map[string]string{"HOST": "h:1", "NESTED": "${HOST}", "EMPTY": "", "SECRET": "s3cret"}[name]
	return v, ok
}

func loadText(t *testing.T, text string) *Config {
	t.Helper()
	c, err := load("test.yaml", []byte(text), hooks(), environment)
	require.NoError(t, err)
	return c
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	policy, err := event.ParseSchema(`{"type": "record", "name": "Policy", "fields": [
		{"name": "name", "type": "string"}, {"name": "no", "type": "int"},
		{"name": "rules", "type": {"type": "array", "items": {"type": "record", "name": "Rule", "fields": [
			{"name": "no", "type": "int"}, {"name": "text", "type": "string"}]}}}]}`)
	require.NoError(t, err)
	process, err := event.ParseSchema(`{"type": "record", "name": "Process", "fields": [
		{"name": "no", "type": "int"}, {"name": "steps", "type": "string"}]}`)
	require.NoError(t, err)
	byTopic := map[string][]*event.Schema{"policies": {policy}, "processes": {process}}
	files, err := filepath.Glob("testdata/mistakes/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			c, err := load(filepath.Base(file), text, hooks(), environment)
			if c != nil {
				err = c.Compile(byTopic)
			}
			var mistakes *Error
			require.ErrorAs(t, err, &mistakes)
			require.NotContains(t, err.Error(), "s3cret")
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644))
			}
			want, err2 := os.ReadFile(golden)
			require.NoError(t, err2)
			require.Empty(t, cmp.Diff(string(want), err.Error()+"\n"))
		})
	}
}

func TestDefaultsAndTypes(t *testing.T) {
	t.Parallel()
	c := loadText(t, head+`
  second:
    connector: hook
    url: "http://${HOST}/{key}"
    topic: policies
    timeout: 5s
    window: {bytes: 1MiB}
    limit: 64KiB
    auth: {basic: {username: u, password: "${SECRET}"}}
    headers: {Z: "1", A: "{event.x}"}
    labels: {a: $$1, b: "${NONE:b:c}", c: "${NESTED}"}
    signing: {secret_files: [one, two]}
    tables:
      rows: {each: event.rules, as: rule, key: [id], map: {id: rule.id, kind: {const: [1, 2.5, x, {k: null}]}}}
      plain: {key: [id]}
  first: {connector: bulk, url: https://x}
`)
	require.Equal(t, []string{"second", "first"}, []string{c.Targets[0].Name, c.Targets[1].Name})
	second, first := c.Targets[0], c.Targets[1]
	spec := second.Spec.(*hookConfig)
	require.Equal(t, "g.dead-letters", c.DeadLetters.Topic)
	require.Equal(t, 20*time.Second, c.Kafka.SessionTimeout)
	require.Equal(t, 5*time.Second, second.Timeout)
	require.Equal(t, connector.Bytes(1<<20), second.Window.Bytes)
	require.Equal(t, 5000, second.Window.Deliveries)
	require.Equal(t, connector.Bytes(64<<10), *spec.Limit)
	require.Equal(t, 1, second.Batch.Size)
	require.Equal(t, 500, first.Batch.Size)
	require.Equal(t, time.Second, first.Batch.Linger)
	require.Equal(t, Topics{"policies"}, second.Topics)
	require.Equal(t, "http://h:1/{key}", spec.URL.Source)
	require.Equal(t, []string{"Z", "A"}, []string{spec.Headers[0].Name, spec.Headers[1].Name})
	require.Empty(t, cmp.Diff(map[string]string{"a": "$1", "b": "b:c", "c": "${HOST}"}, spec.Labels))
	require.Len(t, spec.Signing.Secrets, 2)
	require.Equal(t, "item", spec.Tables[1].Value.As)
	kind := spec.Tables[0].Value.Map.Fields[1].Tree
	require.True(t, kind.IsConst)
	require.Empty(t, cmp.Diff([]any{int64(1), 2.5, "x", &event.Object{Names: []string{"k"}, Values: []any{nil}}}, kind.Const))
	password, err := spec.Auth.Basic.Password.Reveal()
	require.NoError(t, err)
	require.Equal(t, "s3cret", password)
	require.NotContains(t, fmt.Sprintf("%+v %#v", *spec.Auth.Basic, *spec.Auth.Basic), "s3cret")
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	c := loadText(t, head+`
  t:
    connector: hook
    url: "http://x"
    topic: [policies]
    when: event.type == "a"
    reference: response.id
    map:
      title: |
        event.name +
          "!"
      nested: {kind: {const: 1}, no: 'event.no'}
    tables:
      rows: {each: event.rules, as: rule, key: [id], map: {id: rule.id}}
  u: {connector: hook, url: "http://x"}
`)
	var got []string
	for _, e := range c.expressions {
		item := ""
		if l := e.decl.Loop; l != nil {
			item = l.Item + " in " + l.List.Source
		}
		p := e.expr.Place
		got = append(got, fmt.Sprintf("%d:%d %s %q want=%q vars=%v loop=%q topics=%v", p.Line, p.Column, p.Path, e.expr.Source, e.decl.Want, e.decl.Vars, item, e.topics))
	}
	require.Empty(t, cmp.Diff([]string{
		`9:11 targets.t.when "event.type == \"a\"" want="bool" vars=[] loop="" topics=[policies]`,
		`13:9 targets.t.map.title "event.name +\n  \"!\"\n" want="" vars=[] loop="" topics=[policies]`,
		`15:39 targets.t.map.nested.no "event.no" want="" vars=[] loop="" topics=[policies]`,
		`10:16 targets.t.reference "response.id" want="" vars=[response] loop="" topics=[policies]`,
		`17:20 targets.t.tables.rows.each "event.rules" want="" vars=[] loop="" topics=[policies]`,
		`17:64 targets.t.tables.rows.map.id "rule.id" want="" vars=[] loop="rule in event.rules" topics=[policies]`,
		`18:3 targets.u.map "event" want="" vars=[] loop="" topics=[]`,
	}, got))
}

// TestExample holds that the example loads with the connectors of this program and
// fits the schemas that it ships.
func TestExample(t *testing.T) {
	t.Parallel()
	c, err := Load("../../examples/policysync.yaml", connectors.Builtin())
	require.NoError(t, err)
	byTopic := map[string][]*event.Schema{}
	for topic, text := range map[string]string{"policy-events": schemas.PolicyEvent, "process-events": schemas.ProcessEvent} {
		s, err := event.ParseSchema(text)
		require.NoError(t, err)
		byTopic[topic] = []*event.Schema{s}
	}
	require.NoError(t, c.Compile(byTopic))
	for _, e := range c.expressions {
		require.NotNil(t, e.expr.Program, e.expr.Place.Path)
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	_, err := Load("testdata/none.yaml", nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "read config: ")
}
