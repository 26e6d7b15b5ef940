package http

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "bearer-token-of-the-test"

func newConnector(t *testing.T, cfg *Config) *Connector {
	t.Helper()
	cfg.SetDefaults()
	require.Empty(t, cfg.Validate())
	c, err := New(t.Context(), cfg, connector.Env{Logger: slog.New(slog.DiscardHandler), Concurrency: 16})
	require.NoError(t, err)
	return c.(*Connector)
}

func TestConformance(t *testing.T) {
	for name, config := range map[string]func(base string) *Config{
		"create and update": func(base string) *Config {
			return &Config{
				Create: &Call{URL: text(base + "/rules")}, Update: &Call{URL: text(base + "/rules/{event.id}")},
				Map: tree("id: event.id", "title: event.title", "version: event.version"),
			}
		},
		"one url": func(base string) *Config { return &Config{URL: text(base + "/any")} },
		"read back": func(base string) *Config {
			return &Config{
				URL: text(base + "/rules/{event.id}"), Map: tree("title: event.title", "version: event.version"),
				Read: &Read{URL: text(base + "/rules/{key}"), Document: expr("response.rule")},
			}
		},
		"read back with a version": func(base string) *Config {
			return &Config{
				URL: text(base + "/rules/{event.id}"), Map: tree("title: event.title", "version: event.version"),
				Read: &Read{URL: text(base + "/rules/{key}"), Document: expr("response.rule"), Version: expr("response.version")},
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			connectortest.Run(t, connectortest.Harness{
				New: func(t *testing.T) connectortest.System {
					a := newAPI(t)
					cfg := config(a.URL)
					cfg.Delete = &Delete{Call: Call{URL: text(a.URL + "/rules/{key}")}}
					cfg.Auth.Bearer = connector.NewSecret(token)
					return a.system(newConnector(t, cfg))
				},
				RefusesBadTitle: true,
				Secrets:         []string{token},
			})
		})
	}
}

// answers makes a target that gives the answers in turn, and a push to it.
func answers(t *testing.T, cfg func(base string) *Config, d *connector.Delivery, statuses ...int) (connector.Receipt, error) {
	t.Helper()
	srv := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		status := statuses[0] // a call too many panics, which the push reports
		statuses = statuses[1:]
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	c := newConnector(t, cfg(srv.URL))
	defer func() { require.NoError(t, c.Close(t.Context())) }()
	require.NoError(t, c.Prepare(d))
	receipt, err := c.Push(t.Context(), d)
	require.Empty(t, statuses, "answers not asked for")
	return receipt, err
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	both := func(base string) *Config {
		return &Config{Create: &Call{URL: text(base)}, Update: &Call{URL: text(base)}, Delete: &Delete{Call: Call{URL: text(base)}}}
	}
	createOnly := func(conflict string) func(string) *Config {
		return func(base string) *Config {
			return &Config{Create: &Call{URL: text(base)}, Conflict: conflict, Delete: &Delete{Ignore: true}}
		}
	}
	own := func(base string) *Config {
		c := both(base)
		c.Success, c.Permanent = Statuses{{201, 201}, {500, 500}}, Statuses{{412, 412}, {502, 503}}
		return c
	}
	first, again := 1, 2
	for _, tt := range []struct {
		name     string
		config   func(string) *Config
		op       connector.Op
		attempt  int
		statuses []int
		want     connector.Class // empty: success
		stale    bool
	}{
		{"update", both, connector.Upsert, first, []int{204}, "", false},
		{"nothing to update", both, connector.Upsert, first, []int{404, 201}, "", false},
		{"neither update nor create", both, connector.Upsert, first, []int{404, 404}, connector.Permanent, false},
		{"created in between", both, connector.Upsert, again, []int{404, 409}, connector.Transient, false},
		{"newer there", both, connector.Upsert, first, []int{412}, "", true},
		{"conflict on update", both, connector.Upsert, again, []int{409}, connector.Permanent, false},
		{"created before", createOnly("done"), connector.Upsert, again, []int{409}, "", false},
		{"created before a restart", createOnly("done"), connector.Upsert, first, []int{409}, "", false},
		{"an earlier version is there", createOnly("permanent"), connector.Upsert, first, []int{409}, connector.Permanent, false},
		{"an earlier version is there still", createOnly("permanent"), connector.Upsert, again, []int{409}, connector.Permanent, false},
		{"delete", both, connector.Delete, first, []int{204}, "", false},
		{"delete what is missing", both, connector.Delete, first, []int{404}, "", false},
		{"delete what is gone", both, connector.Delete, first, []int{410}, "", false},
		{"gone on update", both, connector.Upsert, first, []int{410}, connector.Permanent, false},
		{"delete ignored", createOnly("done"), connector.Delete, first, nil, "", false},
		{"redirect", both, connector.Upsert, first, []int{302}, connector.Permanent, false},
		{"own success", own, connector.Upsert, first, []int{500}, "", false},
		{"no longer success", own, connector.Upsert, first, []int{200}, connector.Permanent, false},
		{"own permanent", own, connector.Upsert, first, []int{503}, connector.Permanent, false},
		{"own permanent before stale", own, connector.Upsert, first, []int{412}, connector.Permanent, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := upsertOf("P-1")
			if tt.op == connector.Delete {
				d = deleteOf("P-1")
			}
			d.Attempt = tt.attempt
			receipt, err := answers(t, tt.config, d, tt.statuses...)
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
				require.Equal(t, tt.want, connector.Classify(err), "%v", err)
			}
			require.Equal(t, tt.stale, receipt.Stale)
		})
	}
}

func TestDocument(t *testing.T) {
	t.Parallel()
	c := newConnector(t, &Config{
		Config: httpclient.Config{Auth: httpclient.Auth{Bearer: connector.NewSecret(token)}},
		Create: &Call{URL: text("https://cases.example/v2/rules")},
		Update: &Call{Method: "PATCH", URL: text("https://cases.example/v2/rules/{event.id}?agency={event.agency}")},
		Delete: &Delete{Call: Call{URL: text("https://cases.example/v2/rules/{key}")}},
		Headers: []connector.Named[*connector.Text]{
			{Name: "X-Agency", Value: text("agency {event.agency}")}, {Name: "X-Key", Value: text("{key}")},
		},
		Map: tree("title: event.title", "number: event.number"),
	})
	for _, tt := range []struct {
		d    *connector.Delivery
		want string
	}{
		{upsertOf("a key\n", "id", "a/b?c", "agency", "D&I", "title", "Week “end”", "number", int64(1<<60+1)), `{
			"method": "PATCH", "url": "https://cases.example/v2/rules/a%2Fb%3Fc?agency=D%26I",
			"if_not_found": {"method": "POST", "url": "https://cases.example/v2/rules"},
			"headers": {
				"Accept": "application/json", "Content-Type": "application/json",
				"Idempotency-Key": "topic/0/7/target", "Policysync-Key": "a%20key%0A", "Policysync-Version": "3",
				"User-Agent": "policysync", "X-Agency": "agency D&I", "X-Key": "K"
			},
			"body": {"title": "Week “end”", "number": 1152921504606846977}}`},
		{deleteOf("P/1"), `{
			"method": "DELETE", "url": "https://cases.example/v2/rules/P%2F1",
			"headers": {
				"Accept": "application/json", "Idempotency-Key": "topic/0/8/target",
				"Policysync-Key": "P%2F1", "User-Agent": "policysync", "X-Key": "P/1"
			}}`},
	} {
		if tt.d.Op == connector.Upsert {
			tt.d.Event.Key = "K" // the header X-Key can hold this one
		}
		require.NoError(t, c.Prepare(tt.d))
		got, err := tt.d.Document.(json.Marshaler).MarshalJSON()
		require.NoError(t, err)
		var want bytes.Buffer
		require.NoError(t, json.Compact(&want, []byte(tt.want)))
		require.Equal(t, want.String(), string(got))
	}

	d := upsertOf("P-1", "id", "x", "agency", "line\nbreak", "title", "", "number", int64(1))
	require.ErrorContains(t, c.Prepare(d), "here: {event.agency}: the text holds a character that no header can")
}

func TestReference(t *testing.T) {
	t.Parallel()
	var body string
	srv := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	var log bytes.Buffer
	c := newConnector(t, &Config{
		URL: text(srv.URL), Delete: &Delete{Call: Call{URL: text(srv.URL)}}, Reference: expr("response.id"),
	})
	c.logger = slog.New(slog.NewTextHandler(&log, nil))
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	for _, tt := range []struct{ body, want string }{
		{`{"id": "R-1"}`, "R-1"},
		{`{"id": 9007199254740993}`, "9007199254740993"},
		{`{"id": 12345678901234567890123}`, "1.2345678901234568e+22"},
		{`{"name": "no id"}`, ""},
		{`<html>`, ""},
		{``, ""},
	} {
		body = tt.body
		d := upsertOf("P-1")
		require.NoError(t, c.Prepare(d))
		receipt, err := c.Push(t.Context(), d)
		require.NoError(t, err)
		require.Equal(t, tt.want, receipt.Reference, tt.body)
	}
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("\n")), "an API without references is logged once: %s", &log)
	require.Contains(t, log.String(), `trouble="the expression fails on the answer"`, "and nothing of its answer")
}

// Numbers are compared by value and what the map does not make is left out; lists are
// compared whole.
func TestDifferences(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ want, have, differ string }{
		{`{"a": 1, "b": null}`, `{"a": 1.0, "c": 3}`, ``},
		{`{"a": {"b": "x"}}`, `{"a": {"b": "y"}}`, `a.b: x, have y`},
		{`{"a": {"b": "x"}}`, `{"a": "y"}`, `a: {"b":"x"}, have y`},
		{`{"a": [1, {"b": 2}]}`, `{"a": [1, {"b": 3, "c": 4}]}`, `a[1].b: 2, have 3`},
		{`{"a": [1]}`, `{"a": [1, 2]}`, `a: [1], have [1,2]`},
		{`{"a": []}`, `{}`, `a: [], have null`},
		{`{"a": 9007199254740993}`, `{"a": 9007199254740992}`, `a: 9007199254740993, have 9007199254740992`},
		{`{"a": true}`, `{"a": "true"}`, `a: true, have true`},
		{`"x"`, `["x"]`, `: x, have ["x"]`},
	} {
		want, err := readJSON([]byte(c.want))
		require.NoError(t, err)
		have, err := readJSON([]byte(c.have))
		require.NoError(t, err)
		var found []string
		for _, d := range differences("", want, have) {
			found = append(found, d.Field+": "+d.Want+", have "+d.Have)
		}
		require.Equal(t, c.differ, strings.Join(found, "; "), c.want)
	}
}
