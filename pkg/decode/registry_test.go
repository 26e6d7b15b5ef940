package decode_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

// directly answers requests with a handler and no network, so that time can be
// faked. It counts the requests, and answers with status instead if that is set.
type directly struct {
	handler  http.Handler
	requests atomic.Int64
	status   atomic.Int64
}

func (d *directly) RoundTrip(r *http.Request) (*http.Response, error) {
	d.requests.Add(1)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	if status := d.status.Load(); status != 0 {
		w.WriteHeader(int(status))
	} else {
		d.handler.ServeHTTP(w, r)
	}
	return w.Result(), nil
}

func withRegistry(t *testing.T) (*srfake.Registry, *directly, *decode.Decoder) {
	t.Helper()
	reg := srfake.NewRegistry()
	transport := &directly{handler: reg.Handler()}
	cfg := decode.Config{Format: "confluent", Registry: &decode.RegistryConfig{URL: "http://registry.test"}}
	d, err := decode.New(cfg, &http.Client{Transport: transport})
	require.NoError(t, err)
	return reg, transport, d
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	_, transport, d := withRegistry(t)
	none, err := d.Schemas(t.Context(), "events")
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = d.Encoder(t.Context(), "events")
	require.EqualError(t, err, `encode for topic "events": the registry has no subject "events-value"`)

	first, err := d.Registry().Register(t.Context(), "events-value", field(`"int"`))
	require.NoError(t, err)
	second, err := d.Registry().Register(t.Context(), "events-value", field(`["null","int"]`))
	require.NoError(t, err)
	again, err := d.Registry().Register(t.Context(), "events-value", field(`"int"`))
	require.NoError(t, err)
	require.Same(t, first, again)
	require.NoError(t, d.Check(t.Context()))
	schemas, err := d.Schemas(t.Context(), "events")
	require.NoError(t, err)
	require.Equal(t, []*event.Schema{first, second}, schemas)

	e, err := d.Encoder(t.Context(), "events")
	require.NoError(t, err)
	b, err := e.Encode([]byte(`{"a":7}`))
	require.NoError(t, err)
	before := transport.requests.Load()
	for range 3 {
		v, schema, err := d.Decode(t.Context(), record(b))
		require.NoError(t, err)
		require.Equal(t, []any{int64(7)}, v.Values)
		require.Same(t, second, schema)
	}
	require.Equal(t, before, transport.requests.Load(), "what is known is not asked again")
}

// TestUnknownSchema: an id that the registry does not know is asked for again, but
// only after a while.
func TestUnknownSchema(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg, transport, d := withRegistry(t)
		r := record([]byte{0, 0, 0, 0, 77, 14})
		for range 3 {
			_, _, err := d.Decode(t.Context(), r)
			requireReason(t, decode.UnknownSchema, err)
		}
		require.EqualValues(t, 1, transport.requests.Load())
		reg.SeedSchema("late", 1, 77, sr.Schema{Schema: field(`"int"`)})
		<-time.After(5 * time.Second)
		v, _, err := d.Decode(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, []any{int64(7)}, v.Values)
	})
}

// TestRegistryUnavailable: whatever keeps the registry from answering is no fault
// of the record.
func TestRegistryUnavailable(t *testing.T) {
	t.Parallel()
	for _, status := range []int64{401, 403, 404, 500, 503, 302} {
		synctest.Test(t, func(t *testing.T) {
			reg, transport, d := withRegistry(t)
			reg.SeedSchema("s", 1, 7, sr.Schema{Schema: field(`"int"`)})
			r := record([]byte{0, 0, 0, 0, 7, 14})
			transport.status.Store(status)
			_, _, err := d.Decode(t.Context(), r)
			var u *decode.UnavailableError
			require.ErrorAs(t, err, &u)
			require.EqualValues(t, 3, transport.requests.Load(), "tried again")
			require.Error(t, d.Check(t.Context()))
			_, err = d.Schemas(t.Context(), "events")
			require.ErrorAs(t, err, &u)
			transport.status.Store(0)
			_, _, err = d.Decode(t.Context(), r)
			require.NoError(t, err, "nothing of it was kept")
		})
	}
	_, _, d := withRegistry(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := d.Decode(ctx, record([]byte{0, 0, 0, 0, 7, 14}))
	require.ErrorAs(t, err, new(*decode.UnavailableError))
}

// TestReferences inlines types that other subjects declare: directly, through each
// other, nested in a type that is named later, and one without a namespace.
func TestReferences(t *testing.T) {
	t.Parallel()
	reg, _, d := withRegistry(t)
	reg.SeedSchema("money", 1, 1, sr.Schema{Schema: `{"type":"record","name":"Money","namespace":"a","fields":[
		{"name":"of","type":{"type":"enum","name":"Currency","symbols":["EUR"]}},{"name":"cents","type":"long"}]}`})
	reg.SeedSchema("bare", 1, 2, sr.Schema{Schema: `{"type":"fixed","name":"Bare","size":1}`})
	reg.SeedSchema("line", 1, 3, sr.Schema{
		Schema:     `{"type":"record","name":"Line","namespace":"b","fields":[{"name":"price","type":"a.Money"},{"name":"mark","type":"Bare"}]}`,
		References: []sr.SchemaReference{{Name: "a.Money", Subject: "money", Version: 1}, {Name: "Bare", Subject: "bare", Version: 1}},
	})
	reg.SeedSchema("order-value", 1, 4, sr.Schema{
		Schema: `{"type":"record","name":"Order","namespace":"b","fields":[{"name":"currency","type":"a.Currency"},
			{"name":"lines","type":{"type":"array","items":"Line"}},{"name":"total","type":"a.Money"}]}`,
		References: []sr.SchemaReference{{Name: "b.Line", Subject: "line", Version: 1}, {Name: "a.Money", Subject: "money", Version: 1}},
	})
	e, err := d.Encoder(t.Context(), "order")
	require.NoError(t, err)
	const text = `{"currency":"EUR","lines":[{"price":{"of":"EUR","cents":1},"mark":"AA=="}],"total":{"of":"EUR","cents":2}}`
	b, err := e.Encode([]byte(text))
	require.NoError(t, err)
	v, schema, err := d.Decode(t.Context(), record(b))
	require.NoError(t, err)
	requireJSON(t, text, v)
	whole, err := event.ParseSchema(schema.Text)
	require.NoError(t, err)
	require.Equal(t, "a.Money", whole.Root.Field("total").Type.Name)
}

func TestBadSchemas(t *testing.T) {
	t.Parallel()
	reg, _, d := withRegistry(t)
	reg.SeedSchema("x", 1, 100, sr.Schema{Schema: `{"type":"fixed","name":"X","size":1}`})
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool { // a reference that has been deleted
		if !strings.HasPrefix(r.URL.Path, "/subjects/x/") {
			return false
		}
		http.Error(w, `{"error_code":40402,"message":"version not found"}`, http.StatusNotFound)
		return true
	})
	for id, row := range []struct {
		schema sr.Schema
		want   string
	}{
		{sr.Schema{Type: sr.TypeProtobuf, Schema: `syntax = "proto3";`}, "its type is PROTOBUF, want AVRO"},
		{sr.Schema{Schema: `{"type":"record","name":"R"}`}, `record "R" has no array of fields`},
		{sr.Schema{Schema: `"int"`}, "an event is a record, but the schema is int"},
		{sr.Schema{Schema: field(`"X"`), References: []sr.SchemaReference{{Name: "X", Subject: "x", Version: 1}}}, `reference "X" (subject "x", version 1): version not found`},
	} {
		reg.SeedSchema("s", id+1, id+1, row.schema)
		_, _, err := d.Decode(t.Context(), record([]byte{0, 0, 0, 0, byte(id + 1), 0}))
		requireReason(t, decode.BadSchema, err)
		require.ErrorContains(t, err, row.want)
	}
	_, err := d.Registry().Register(t.Context(), "s", `{"type":"recrd"}`)
	require.ErrorContains(t, err, `register for subject "s": parse schema: unknown type "recrd"`)
}

// TestRegistryAuth goes through the client that the config describes; the secret
// stays out of the error.
func TestRegistryAuth(t *testing.T) {
	t.Parallel()
	reg := srfake.New(srfake.WithAuth("Bearer s3cret"))
	t.Cleanup(reg.Close)
	for token, allowed := range map[string]bool{"s3cret": true, "wr0ng": false} {
		cfg := decode.RegistryConfig{URL: reg.URL(), Auth: httpclient.Auth{Bearer: connector.NewSecret(token)}}
		client, err := httpclient.New(httpclient.Config{Auth: cfg.Auth, TLS: cfg.TLS}, httpclient.Options{})
		require.NoError(t, err)
		t.Cleanup(client.Close)
		d, err := decode.New(decode.Config{Format: "confluent", Registry: &cfg}, client.HTTP())
		require.NoError(t, err)
		err = d.Check(t.Context())
		require.Equal(t, allowed, err == nil, "%v", err)
		require.False(t, err != nil && strings.Contains(err.Error(), token))
	}
}
