package decode_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fromFiles returns a decoder of bare values written with one schema, which
// projects those of the topic "events" on another, if one is given.
func fromFiles(tb testing.TB, writer, reader string) *decode.Decoder {
	tb.Helper()
	d, err := decode.New(fileConfig(tb, writer, reader), nil)
	require.NoError(tb, err)
	return d
}

func fileConfig(tb testing.TB, writer, reader string) decode.Config {
	tb.Helper()
	dir := tb.TempDir()
	cfg := decode.Config{Format: "none", File: filepath.Join(dir, "writer.avsc")}
	require.NoError(tb, os.WriteFile(cfg.File, []byte(writer), 0o600))
	if reader != "" {
		path := filepath.Join(dir, "reader.avsc")
		require.NoError(tb, os.WriteFile(path, []byte(reader), 0o600))
		cfg.Reader = map[string]string{"events": path}
	}
	return cfg
}

func record(value []byte, headers ...event.Header) *event.Record {
	return &event.Record{Position: event.Position{Topic: "events"}, Value: value, Headers: headers}
}

func encode(tb testing.TB, schema, text string) []byte {
	tb.Helper()
	s, err := event.ParseSchema(schema)
	require.NoError(tb, err)
	e, err := decode.NewEncoder("none", s)
	require.NoError(tb, err)
	b, err := e.Encode([]byte(text))
	require.NoError(tb, err)
	return b
}

func requireJSON(t *testing.T, want string, v *event.Object) {
	t.Helper()
	got, err := v.MarshalJSON()
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func requireReason(t *testing.T, want decode.Reason, err error) {
	t.Helper()
	var u *decode.UndecodableError
	require.ErrorAs(t, err, &u)
	require.Equal(t, want, u.Reason, "%v", err)
}

// permit is a schema unlike the shipped ones: what a user might bring.
const permit = `{
	"type": "record", "name": "Permit", "namespace": "city.permits",
	"fields": [
		{"name": "header", "type": {"type": "record", "name": "Header", "fields": [
			{"name": "uid", "type": {"type": "string", "logicalType": "uuid"}},
			{"name": "trace", "type": {"type": "fixed", "name": "Trace", "size": 16, "logicalType": "uuid"}},
			{"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
			{"name": "nanos", "type": ["null", {"type": "long", "logicalType": "timestamp-nanos"}]},
			{"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-millis"}}
		]}},
		{"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["BUILD", "EVENT"]}},
		{"name": "fee", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
		{"name": "deposit", "type": ["null", {"type": "fixed", "name": "Money", "size": 6, "logicalType": "decimal", "precision": 10, "scale": 3}]},
		{"name": "opens", "type": {"type": "int", "logicalType": "time-millis"}},
		{"name": "closes", "type": {"type": "long", "logicalType": "time-micros"}},
		{"name": "day", "type": {"type": "int", "logicalType": "date"}},
		{"name": "labels", "type": {"type": "map", "values": ["null", "string", "long"]}},
		{"name": "area", "type": "double"},
		{"name": "ratio", "type": "float"},
		{"name": "scan", "type": "bytes"},
		{"name": "seal", "type": {"type": "fixed", "name": "Seal", "size": 2}},
		{"name": "parts", "type": {"type": "array", "items": ["Permit", "Kind", "boolean"]}},
		{"name": "parent", "type": ["null", "Permit"], "default": null}
	]}`

const permitJSON = `{"header":{"uid":"c0ffee00-0000-4000-8000-000000000001","trace":"00112233-4455-6677-8899-aabbccddeeff",` +
	`"at":"2026-03-02T09:30:00.000001Z","nanos":"1969-12-31T23:59:59.999999999Z","local":"2026-07-01T00:00:00.5Z"},` +
	`"kind":"EVENT","fee":"-1200.05","deposit":"-7.125","opens":"08:00:00.25","closes":"23:59:59.999999","day":"1969-12-31",` +
	`"labels":{"a":null,"b":"x","c":9007199254740993},"area":12.5,"ratio":0.25,"scan":"AAEC/w==","seal":"AQI=","parts":["BUILD",true],"parent":null}`

// TestUsersOwnSchema: any record works, without a line of Go that knows it.
func TestUsersOwnSchema(t *testing.T) {
	t.Parallel()
	d := fromFiles(t, permit, "")
	nested := strings.Replace(permitJSON, `"parent":null`, `"parent":`+permitJSON, 1)
	nested = strings.Replace(nested, `"parts":["BUILD",true]`, `"parts":[`+permitJSON+`]`, 1)
	for _, text := range []string{permitJSON, nested} {
		b := encode(t, permit, text)
		value, schema, err := d.Decode(t.Context(), record(b))
		require.NoError(t, err)
		requireJSON(t, text, value)
		require.Equal(t, "city.permits.Permit", schema.Root.Name)
	}
}

func TestFraming(t *testing.T) {
	t.Parallel()
	glue := append([]byte{3, 0}, make([]byte, 20)...)
	for _, row := range []struct {
		name, format, want string
		value              []byte
		header             string
	}{
		{name: "empty", format: "confluent", value: []byte{}, want: "the value begins with nothing"},
		{name: "short", format: "confluent", value: []byte{0, 0, 1}, want: "the value begins with 00 00 01"},
		{name: "negative id", format: "confluent", value: []byte{0, 0xff, 0xff, 0xff, 0xff, 1}, want: "the value begins with 00 ff ff ff ff"},
		{name: "garbage", format: "confluent", value: []byte("hello"), want: "the value begins with 68 65 6c 6c 6f"},
		{name: "json", format: "confluent", value: []byte(`{"a":1}`), want: "this looks like JSON"},
		{name: "glue", format: "confluent", value: glue, want: "this looks like AWS Glue's framing"},
		{name: "apicurio", format: "confluent", value: []byte{0, 0, 0, 0, 0, 0, 0, 0, 7, 1}, want: "this looks like Apicurio's framing with ids of eight bytes"},
		{name: "single object", format: "confluent", value: []byte{0xC3, 1, 0, 0, 0, 0, 0, 0, 0, 0}, want: "this looks like Avro's single-object encoding"},
		{name: "container", format: "confluent", value: []byte("Obj\x01\x04\x14"), want: "this looks like an Avro object container file"},
		{name: "guid", format: "confluent", value: append([]byte{1}, make([]byte, 16)...), want: "this looks like Confluent's framing with a GUID"},
		{name: "apicurio header", format: "confluent", value: []byte{2, 4}, header: "apicurio.value.globalId", want: "this looks like Apicurio's header form"},
		{name: "confluent header", format: "confluent", value: []byte{2, 4}, header: "__value_schema_id", want: "this looks like Confluent's header form"},
		{name: "confluent", format: "single-object", value: []byte{0, 0, 0, 0, 7, 1}, want: "this looks like Confluent's framing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			cfg := decode.Config{Format: row.format, Registry: &decode.RegistryConfig{URL: "http://registry.invalid"}}
			if row.format != "confluent" {
				cfg = fileConfig(t, permit, "")
				cfg.Format = row.format
			}
			d, err := decode.New(cfg, &http.Client{})
			require.NoError(t, err)
			_, _, err = d.Decode(t.Context(), record(row.value, event.Header{Key: row.header}))
			requireReason(t, decode.Framing, err)
			require.EqualError(t, err, "decode: read "+row.format+" framing: "+row.want)
		})
	}
}

// TestSingleObject reads records of two writers, told apart by their fingerprints.
func TestSingleObject(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := `{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}`
	two := `{"type":"record","name":"R","fields":[{"name":"b","type":"string"}]}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "r_1.avsc"), []byte(one), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "r_2.avsc"), []byte(two), 0o600))
	d, err := decode.New(decode.Config{Format: "single-object", File: filepath.Join(dir, "r_*.avsc")}, nil)
	require.NoError(t, err)
	schemas, err := d.Schemas(t.Context(), "events")
	require.NoError(t, err)
	require.Len(t, schemas, 2)
	for text, schema := range map[string]string{`{"a":1}`: one, `{"b":"x"}`: two} {
		s, err := event.ParseSchema(schema)
		require.NoError(t, err)
		e, err := decode.NewEncoder("single-object", s)
		require.NoError(t, err)
		b, err := e.Encode([]byte(text))
		require.NoError(t, err)
		v, schema, err := d.Decode(t.Context(), record(b))
		require.NoError(t, err)
		requireJSON(t, text, v)
		require.Contains(t, schemas, schema)
	}
	_, _, err = d.Decode(t.Context(), record([]byte{0xC3, 1, 8, 7, 6, 5, 4, 3, 2, 1, 0}))
	requireReason(t, decode.UnknownSchema, err)
}

func TestNewErrors(t *testing.T) {
	t.Parallel()
	r := func(fields string) string { return `{"type":"record","name":"R","fields":[` + fields + `]}` }
	registry := &decode.RegistryConfig{URL: "http://registry.invalid"}
	for _, row := range []struct {
		name, want string
		cfg        decode.Config
	}{
		{"no registry", "schemas.registry: format confluent needs a registry", decode.Config{Format: "confluent"}},
		{"no file", "schemas.file: format none needs the file", decode.Config{Format: "none", Registry: registry}},
		{"both", "schemas.file: registry and file exclude each other", decode.Config{Format: "confluent", Registry: registry, File: "x"}},
		{"credentials", "schemas.registry.url: credentials belong under auth", decode.Config{Format: "confluent", Registry: &decode.RegistryConfig{URL: "http://u:p@h"}}},
		{"no such file", `no such file`, decode.Config{Format: "none", File: "nowhere.avsc"}},
		{"top level", `an event is a record, but the schema is array`, fileConfig(t, `{"type":"array","items":"int"}`, "")},
		{"reader's default", `a: "x" is no int`, fileConfig(t, r(`{"name":"a","type":"int"}`), r(`{"name":"a","type":"int","default":"x"}`))},
		{"endless default", `values nest deeper`, fileConfig(t, r(``), r(`{"name":"a","type":"R","default":{}}`))},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := decode.New(row.cfg, nil)
			require.ErrorContains(t, err, row.want)
		})
	}
}

func TestEncodeErrors(t *testing.T) {
	t.Parallel()
	s, err := event.ParseSchema(permit)
	require.NoError(t, err)
	e, err := decode.NewEncoder("none", s)
	require.NoError(t, err)
	for _, row := range []struct{ from, to, want string }{
		{`"kind":"EVENT"`, `"kind":"EVNT"`, `kind: "EVNT" is no enum "city.permits.Kind"`},
		{`"kind":"EVENT",`, ``, `kind: the field is missing and has no default`},
		{`"kind":`, `"kin":`, `kin: there is no such field in record "city.permits.Permit"`},
		{`"fee":"-1200.05"`, `"fee":"1.005"`, `fee: "1.005" is no bytes (decimal): more than 2 digits after the point`},
		{`"fee":"-1200.05"`, `"fee":"99999999999.99"`, `fee: "99999999999.99" is no bytes (decimal): more than 12 digits`},
		{`09:30:00.000001Z`, `09:30:00.0000001Z`, `more digits than timestamp-micros holds`},
		{`1969-12-31T23:59:59.999999999Z`, `3000-01-01T00:00:00Z`, `out of the range of timestamp-nanos`},
		{`"day":"1969-12-31"`, `"day":99999999999`, `day: 99999999999 is no int (date)`},
		{`"day":"1969-12-31"`, `"day":"31.12.1969"`, `day: "31.12.1969" is no int (date)`},
		{`"AAEC/w=="`, `"?"`, `scan: "?" is no bytes: illegal base64`},
		{`"BUILD",true`, `"BUILD",1`, `parts[1]: `},
	} {
		_, err := e.Encode([]byte(strings.Replace(permitJSON, row.from, row.to, 1)))
		require.ErrorContains(t, err, row.want)
	}
	_, err = decode.NewEncoder("confluent", s)
	require.ErrorContains(t, err, "needs a schema with a registry's id")
}
