package http

import (
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
)

func bulkConfig(base, form string) *Config {
	b := &Bulk{Call: Call{URL: text(base + "/bulk/" + form)}, Format: "array", Results: expr("response.items"), Status: expr("result.status")}
	switch form {
	case "lines":
		b.Format = "ndjson"
	case "object":
		b.In = "items"
	case "whole":
		b.Results, b.Status = nil, nil
	}
	return &Config{
		Bulk: b, Delete: &Delete{Call: Call{URL: text(base + "/rules/{key}")}},
		Map: tree("id: event.id", "title: event.title", "version: event.version"),
	}
}

func newBulkConnector(t *testing.T, cfg *Config) *bulk {
	t.Helper()
	cfg.SetDefaults()
	require.Empty(t, cfg.Validate())
	c, err := New(t.Context(), cfg, connector.Env{Concurrency: 16})
	require.NoError(t, err)
	return c.(*bulk)
}

func TestBulkConformance(t *testing.T) {
	for _, form := range []string{"array", "object", "lines", "whole"} {
		t.Run(form, func(t *testing.T) {
			connectortest.Run(t, connectortest.Harness{
				New: func(t *testing.T) connectortest.System {
					a := newAPI(t)
					cfg := bulkConfig(a.URL, form)
					cfg.Auth.Bearer = connector.NewSecret(token)
					return a.system(newBulkConnector(t, cfg))
				},
				RefusesBadTitle: true,
				Secrets:         []string{token},
			})
		})
	}
}

func batch(t *testing.T, b *bulk, titles ...string) []*connector.Delivery {
	t.Helper()
	ds := make([]*connector.Delivery, len(titles))
	for i, title := range titles {
		key := fmt.Sprintf("P-%d", i)
		if ds[i] = deleteOf(key); title != "" {
			ds[i] = upsertOf(key, "id", key, "title", title, "version", int64(i))
		}
		require.NoError(t, b.Prepare(ds[i]))
	}
	return ds
}

// A batch is one call, whatever its size; each item has its own answer, its own id
// at the target, and a name in its own error.
func TestBulkAnswersForEachItem(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	cfg := bulkConfig(a.URL, "array")
	cfg.Reference = expr("response.id")
	b := newBulkConnector(t, cfg)
	t.Cleanup(func() { _ = b.Close(t.Context()) })
	results := b.PushBatch(t.Context(), batch(t, b, "a", connectortest.BadTitle, "", "d"))
	require.Equal(t, []int{3}, a.sizes)
	require.Equal(t, "rule-P-0", results[0].Receipt.Reference)
	require.Equal(t, connector.Permanent, connector.Classify(results[1].Err))
	require.False(t, connector.FailedWhole(results[1].Err))
	require.ErrorContains(t, results[1].Err, `/bulk/array: item 1: unexpected status 422: "{\"id\":\"rule-P-1\",\"status\":422}"`)
	require.NoError(t, results[2].Err)
	require.Equal(t, "rule-P-3", results[3].Receipt.Reference)
	require.Equal(t, map[string]connectortest.Record{"P-0": {Title: "a"}, "P-3": {Title: "d", Version: 3}}, a.rules)
}

// Deletes of a batch have goroutines of their own, where a panic would end the process.
func TestBulkDeleteThatPanicsFailsAlone(t *testing.T) {
	t.Parallel()
	b := newBulkConnector(t, bulkConfig(newAPI(t).URL, "array"))
	t.Cleanup(func() { _ = b.Close(t.Context()) })
	ds := batch(t, b, "kept", "")
	ds[1].Document = (*document)(nil)
	results := b.PushBatch(t.Context(), ds)
	require.NoError(t, results[0].Err)
	require.ErrorContains(t, results[1].Err, "panicked")
}

// The engine catches the panic of the batch's own call, and may then send a key again.
func TestBulkThatPanicsLeavesNoDeletesBehind(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	b := newBulkConnector(t, bulkConfig(a.URL, "array"))
	t.Cleanup(func() { _ = b.Close(t.Context()) })
	ds := batch(t, b, append([]string{"a"}, make([]string, 5*deletesAtATime)...)...)
	for _, d := range ds[1:] {
		a.rules[d.Key] = connectortest.Record{}
	}
	ds[0].Document = (*document)(nil)
	require.Panics(t, func() { b.PushBatch(t.Context(), ds) })
	require.Empty(t, a.system(b).Applied(t))
}

// The name of the array is one in JSON, and braces of the URL are those of its text.
func TestBulkIsNamedAndAddressedAsWritten(t *testing.T) {
	t.Parallel()
	cfg := bulkConfig("https://api.example", "array")
	cfg.Bulk.In = "rules\x01\u00a0"
	cfg.Bulk.URL = &connector.Text{Source: "https://api.example/{{v1}}", Parts: []connector.Part{{Literal: "https://api.example/{v1}"}}}
	b := newBulkConnector(t, cfg)
	t.Cleanup(func() { _ = b.Close(t.Context()) })
	require.JSONEq(t, "{\"rules\\u0001\u00a0\":[]}", b.open+b.end)
	require.Equal(t, "https://api.example/%7Bv1%7D", b.calls[0].url.String())
}

// A batch that is refused whole is split, whatever stands first in it: then the bad
// item is alone, and its neighbours have arrived.
func TestBulkRefusedWhole(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	b := newBulkConnector(t, bulkConfig(a.URL, "whole"))
	t.Cleanup(func() { _ = b.Close(t.Context()) })
	ds := batch(t, b, "", connectortest.BadTitle, "c")
	for _, r := range b.PushBatch(t.Context(), ds) {
		require.True(t, connector.FailedWhole(r.Err))
	}
	for i, d := range ds {
		_, err := b.Push(t.Context(), d)
		require.Equal(t, i == 1, err != nil)
	}
	require.Equal(t, map[string]connectortest.Record{"P-2": {Title: "c", Version: 2}}, a.rules)
}

// An answer that does not say what became of the items settles none of them.
func TestBulkWithoutResults(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"items": [{"status": 200}]}`:     "read response: 1 results for 2 items",
		`{"items": "two"}`:                 "read response: 0 results for 2 items",
		`{}`:                               "read response: here: response.items: no such field",
		`ok`:                               "read response: invalid character",
		`{"items": [{"status": 200}, {}]}`: "read response: item 1: here: result.status",
		`{"items": [{"status": 200}, {"status": "good"}]}`: "item 1: result.status is good, want a status of HTTP",
		`{"items": [{"status": 200}, {"status": 0}]}`:      "item 1: result.status is 0, want a status of HTTP",
	} {
		srv := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) { _, _ = w.Write([]byte(answer)) }))
		b := newBulkConnector(t, bulkConfig(srv.URL, "array"))
		for _, r := range b.PushBatch(t.Context(), batch(t, b, "a", "b")) {
			require.ErrorContains(t, r.Err, want)
			require.Equal(t, connector.Transient, connector.Classify(r.Err))
		}
		require.NoError(t, b.Close(t.Context()))
		srv.Close()
	}
}

// A batch that is too large is not sent, and is halved like one that was refused;
// what is too large alone is a permanent error of its own.
func TestBulkBodyIsBounded(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	cfg := bulkConfig(a.URL, "array")
	cfg.MaxBody = 200
	b := newBulkConnector(t, cfg)
	t.Cleanup(func() { _ = b.Close(t.Context()) })
	ds := batch(t, b, slices.Repeat([]string{"Weekend Inspections"}, 4)...)
	for _, r := range b.PushBatch(t.Context(), ds) {
		require.True(t, connector.FailedWhole(r.Err))
		require.Equal(t, connector.Permanent, connector.Classify(r.Err))
		require.EqualError(t, r.Err, "batch of 4: the body has 221 bytes, more than max_body, 200")
	}
	require.Empty(t, a.sizes)
	require.NoError(t, b.PushBatch(t.Context(), ds[:2])[0].Err)

	large := upsertOf("P-9", "id", "P-9", "title", strings.Repeat("x", 200), "version", int64(1))
	require.ErrorContains(t, b.Prepare(large), "the body has 235 bytes, more than max_body, 200")
}

// A value of the event that fits into no server's header is refused before it is sent.
func TestHeaderIsBounded(t *testing.T) {
	t.Parallel()
	cfg := &Config{URL: text("https://api.example"), Delete: &Delete{Ignore: true}}
	cfg.Headers = []connector.Named[*connector.Text]{{Name: "X-Title", Value: text("{event.title}")}}
	c := newConnector(t, cfg)
	t.Cleanup(func() { _ = c.Close(t.Context()) })
	require.ErrorContains(t, c.Prepare(upsertOf("P-1", "title", strings.Repeat("x", 9000))),
		"the text has 9000 bytes, more than the 8192 that fit into a header")
	require.NoError(t, c.Prepare(upsertOf("P-1", "title", strings.Repeat("x", 8192))))
}
