package http

import (
	nethttp "net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

func TestMistakes(t *testing.T) {
	t.Parallel()
	const good = "https://cases.example/v2/rules"
	ignore := &Delete{Ignore: true}
	header := func(name string) []connector.Named[*connector.Text] {
		return []connector.Named[*connector.Text]{{Name: name, Value: text("x")}}
	}
	for _, tt := range []struct {
		name string
		cfg  Config
		want []connector.Mistake
	}{
		{"good", Config{URL: text(good), Delete: ignore, Headers: header("X-Agency")}, nil},
		{"good, of the event", Config{URL: text("{event.url}"), Delete: ignore}, nil},
		{"good, host of the event", Config{URL: text("https://{event.region}.example/rules"), Delete: ignore}, nil},
		{"nothing", Config{}, []connector.Mistake{
			{Message: "nothing says where an upsert goes: set url, or create and update, or bulk"},
			{Message: "nothing says what a deleted key does: set delete, or delete: ignore"},
		}},
		{"two ways", Config{URL: text(good), Update: &Call{URL: text(good)}, Delete: ignore}, []connector.Mistake{
			{Path: "url", Message: "url takes every upsert: leave it out, or create and update"},
		}},
		{"create alone", Config{Create: &Call{URL: text(good)}, Conflict: "done", Delete: ignore}, nil},
		{"create alone, and not what 409 means", Config{Create: &Call{URL: text(good)}, Delete: ignore}, []connector.Mistake{
			{Path: "create", Message: "nothing says what 409 to create means: set conflict to done if the target then has this very change, else to permanent"},
		}},
		{"conflict without create alone", Config{URL: text(good), Conflict: "done", Delete: ignore}, []connector.Mistake{
			{Path: "conflict", Message: "conflict goes with create alone: where there is an update, that comes after a 409 to create"},
		}},
		{"method alone", Config{Method: "PUT", Update: &Call{URL: text(good)}, Delete: ignore}, []connector.Mistake{
			{Path: "method", Message: "method goes with url: create and update have their own"},
		}},
		{"wrong urls", Config{
			Create: &Call{URL: text("cases.example/v2")}, Update: &Call{URL: text("https://kate:hush@cases.example/{key}")},
			Delete: &Delete{Call: Call{URL: text("https:///v2")}},
		}, []connector.Mistake{
			{Path: "create.url", Message: "want a URL that begins with http://, https:// or an expression"},
			{Path: "update.url", Message: "credentials belong under auth, not into the url"},
			{Path: "delete.url", Message: "want http://HOST or https://HOST"},
		}},
		{"bulk and url", Config{URL: text(good), Bulk: &Bulk{Call: Call{URL: text(good)}}, Delete: ignore}, []connector.Mistake{
			{Path: "bulk", Message: "bulk takes every upsert: leave it out, or url, create and update"},
		}},
		{"bulk of one", Config{
			Bulk:   &Bulk{Call: Call{URL: text(good + "/{key}")}, Status: expr("result.status"), In: "items", Format: "ndjson"},
			Delete: ignore, Headers: []connector.Named[*connector.Text]{{Name: "X-Key", Value: text("{key}")}},
		}, []connector.Mistake{
			{Path: "bulk.url", Message: "a batch is of many policies: its URL has no expressions"},
			{Path: "bulk", Message: "results and status go together"},
			{Path: "bulk.in", Message: "lines stand in no object: leave it out, or format: ndjson"},
			{Path: "headers.X-Key", Message: "a batch is of many policies: with bulk a header has no expressions"},
		}},
		{"header name", Config{URL: text(good), Delete: ignore, Headers: header("X Agency")}, []connector.Mistake{
			{Path: "headers.X Agency", Message: `"X Agency" is no name of a header`},
		}},
		{"header on two lines", Config{URL: text(good), Delete: ignore, Headers: []connector.Named[*connector.Text]{
			{Name: "X-Agency", Value: text("DOI\n{key}")},
		}}, []connector.Mistake{{Path: "headers.X-Agency", Message: "the text holds a character that no header can"}}},
		{"path that leads elsewhere", Config{URL: text(good + "/../x"), Delete: ignore}, []connector.Mistake{
			{Path: "url", Message: `its path has a segment "..", which leads elsewhere`},
		}},
		{"user before a host of the event", Config{URL: text("https://kate@{event.region}.example"), Delete: ignore}, []connector.Mistake{
			{Path: "url", Message: "credentials belong under auth, not into the url"},
		}},
		{"header of the connection", Config{URL: text(good), Delete: ignore, Headers: header("content-length")}, []connector.Mistake{
			{Path: "headers.content-length", Message: "content-length belongs to the connection and cannot be set"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.cfg.SetDefaults()
			require.Empty(t, cmp.Diff(tt.want, tt.cfg.Validate()))
		})
	}

	cfg := &Config{URL: text(good), Delete: &Delete{Call: Call{URL: text(good + "/{event.id}")}}}
	_, err := New(t.Context(), cfg, connector.Env{})
	require.ErrorContains(t, err, "it uses the event, and a deleted key has none")
}

func TestShortForms(t *testing.T) {
	t.Parallel()
	var r Range
	require.NoError(t, r.UnmarshalText([]byte("200-299")))
	require.Equal(t, Range{200, 299}, r)
	require.NoError(t, r.UnmarshalText([]byte("422")))
	require.Equal(t, Range{422, 422}, r)
	for _, wrong := range []string{"", "ok", "199", "600", "299-200", "200-", "200-299-300"} {
		require.Error(t, r.UnmarshalText([]byte(wrong)), wrong)
	}
	var d Delete
	require.NoError(t, d.UnmarshalScalar("ignore"))
	require.True(t, d.Ignore)
	require.EqualError(t, d.UnmarshalScalar("never"), `want ignore or a mapping with url, have "never"`)
}

func TestURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ url, value, want, fault string }{
		{"https://a.example/{event.v}", "P-1", "https://a.example/P-1", ""},
		{"https://a.example/{event.v}", "../x", "https://a.example/..%2Fx", ""},
		{"https://a.example/{event.v}", "x?y#z%2e", "https://a.example/x%3Fy%23z%252e", ""},
		{"https://a.example/{event.v}", "..", "", "leads elsewhere"},
		{"https://a.example/.{event.v}/x", ".", "", "leads elsewhere"},
		{"https://a.example/{event.v}", "", "", "would address something else"},
		{"https://a.example/?q={event.v}", "a&b=c d", "https://a.example/?q=a%26b%3Dc+d", ""},
		{"https://a.example/?q={event.v}", "", "https://a.example/?q=", ""},
		{"https://{event.v}.example/x", "eu-1", "https://eu-1.example/x", ""},
		{"https://{event.v}.example/x", "evil.test/", "", "is no part of a host name"},
		{"https://{event.v}.example/x", "a@b", "", "is no part of a host name"},
		{"https://{event.v}/x", "", "", "want http://HOST"},
		{"{event.v}", "https://b.example/x?y=z", "https://b.example/x?y=z", ""},
		{"{event.v}", "file:///etc/passwd", "", "want http://HOST"},
		{"{event.v}", "https://kate:hush@b.example", "", "credentials belong under auth"},
		{"{event.v}", "https://b.example/%zz", "", "invalid URL escape"},
	} {
		got, err := render(text(tt.url), connector.Scope{Event: upsertOf("k", "v", tt.value).Event})
		if tt.fault != "" {
			require.ErrorContains(t, err, tt.fault, "%+v", tt)
			require.NotContains(t, err.Error(), "hush")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, tt.want, got.String(), "%+v", tt)
	}
}

// A host that the config writes out is trusted; one that the event has any part
// in is not, and loopback is private.
func TestHostTrust(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(nethttp.HandlerFunc(func(nethttp.ResponseWriter, *nethttp.Request) {}))
	t.Cleanup(srv.Close)
	host := srv.Listener.Addr().String()
	for _, tt := range []struct {
		name, url string
		allow     bool
		trusted   bool
	}{
		{"of the config", "http://" + host, false, true},
		{"of the config, with a path", "http://" + host + "/{event.v}", false, true},
		{"of the event", "http://127.0.0.1:{event.port}/", false, false},
		{"lengthened by the event", "http://" + host[:len(host)-1] + "{event.last}", false, false},
		{"of the event, allowed", "http://127.0.0.1:{event.port}/", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newConnector(t, &Config{
				Config: httpclient.Config{AllowPrivateAddresses: tt.allow}, URL: text(tt.url), Delete: &Delete{Ignore: true},
			})
			defer func() { require.NoError(t, c.Close(t.Context())) }()
			d := upsertOf("k", "v", "x", "port", host[len("127.0.0.1:"):], "last", host[len(host)-1:])
			require.NoError(t, c.Prepare(d))
			_, err := c.Push(t.Context(), d)
			if tt.trusted {
				require.NoError(t, err)
				return
			}
			var private *httpclient.PrivateAddressError
			require.ErrorAs(t, err, &private)
			require.Equal(t, connector.Permanent, connector.Classify(err))
		})
	}
}
