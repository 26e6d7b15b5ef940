package connectors

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/connectors/http"
	"github.com/hms-sme/policysync/pkg/connector"
)

func TestBuiltin(t *testing.T) {
	t.Parallel()
	kinds := Builtin()
	require.Equal(t, []string{"caldav", "file", "http", "scheduling", "sql", "warehouse", "webhook"}, slices.Sorted(maps.Keys(kinds)))
	for name, kind := range kinds {
		require.NotNil(t, kind.Config(), name)
		_, err := kind.New(t.Context(), new(string), connector.Env{})
		require.ErrorContains(t, err, "make connector: config is *string", name)
	}
}

func TestSchedulingDefaults(t *testing.T) {
	t.Parallel()
	rules := &connector.Text{
		Source: "https://api.scheduler.example/v1/rules",
		Parts:  []connector.Part{{Literal: "https://api.scheduler.example/v1/rules"}},
	}
	cfg := Builtin()["scheduling"].Config().(*schedulingConfig)
	cfg.URL = rules
	cfg.SetDefaults()
	require.Empty(t, cfg.Validate())
	require.Equal(t, "POST", cfg.Method)
	require.Equal(t, "DELETE", cfg.Delete.Method)
	require.Equal(t, "https://api.scheduler.example/v1/rules/{key}", cfg.Delete.URL.Source)
	var fields []string
	for _, f := range cfg.Map.Fields {
		fields = append(fields, f.Name+": "+f.Tree.Expr.Source)
	}
	require.Empty(t, cmp.Diff([]string{
		"calendarId: event.payload.agencyId", "title: event.payload.name", "rules: event.payload.rules",
	}, fields))

	own := &schedulingConfig{Config: http.Config{
		URL: rules, Delete: &http.Delete{Ignore: true}, Map: &connector.Tree{Const: "x", IsConst: true},
	}}
	own.SetDefaults()
	require.True(t, own.Delete.Ignore)
	require.Equal(t, "x", own.Map.Const)

	for _, end := range []string{"?tenant=DOI", "#rules"} {
		at := "https://api.scheduler.example/v1/rules" + end
		asked := &schedulingConfig{Config: http.Config{URL: &connector.Text{Source: at, Parts: []connector.Part{{Literal: at}}}}}
		asked.SetDefaults()
		require.Len(t, asked.Validate(), 1, "a delete to %s/KEY would be one of all rules", at)
	}

	braces := &schedulingConfig{Config: http.Config{URL: &connector.Text{
		Source: "https://api.scheduler.example/{{v1}}", Parts: []connector.Part{{Literal: "https://api.scheduler.example/{v1}"}},
	}}}
	braces.SetDefaults()
	require.Equal(t, "https://api.scheduler.example/{{v1}}/{key}", braces.Delete.URL.Source)
	require.Equal(t, "https://api.scheduler.example/{v1}/", braces.Delete.URL.Parts[0].Literal)

	byEvent := &schedulingConfig{Config: http.Config{URL: &connector.Text{
		Source: "{event.url}", Parts: []connector.Part{{Expr: &connector.Expr{Source: "event.url"}}},
	}}}
	byEvent.SetDefaults()
	require.Len(t, byEvent.Validate(), 1, "a delete cannot ask the event for its URL")
}
