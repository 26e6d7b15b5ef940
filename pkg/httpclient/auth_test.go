package httpclient

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/hms-sme/policysync/pkg/connector"
)

func TestCredentials(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("first\n"), 0o600))
	hush := connector.NewSecret("hush")
	for _, tt := range []struct {
		name         string
		auth         Auth
		header, want string
	}{
		{"none", Auth{}, "Authorization", ""},
		{"bearer", Auth{Bearer: hush}, "Authorization", "Bearer hush"},
		{"bearer from a file", Auth{Bearer: connector.SecretFile(file)}, "Authorization", "Bearer first"},
		{"basic", Auth{Basic: &Basic{"kate", hush}}, "Authorization", "Basic a2F0ZTpodXNo"},
		{"api key", Auth{APIKey: &APIKey{"X-Key", hush}}, "X-Key", "hush"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = io.WriteString(w, r.Header.Get(tt.header)+"\n is\twrong\x00")
			})
			resp, err := get(t.Context(), newClient(t, Config{Auth: tt.auth}, Options{}), url)
			require.NoError(t, err)
			require.Contains(t, string(resp.Body), tt.want)
			require.Equal(t, connector.Unavailable, connector.Classify(resp.Err()))
			require.ErrorContains(t, resp.Err(), "is wrong\"")
			for _, secret := range []string{"hush", "first", "a2F0ZTpodXNo"} {
				require.NotContains(t, resp.Err().Error(), secret)
			}
		})
	}
}

func TestSecretIsReadForEachRequest(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Authorization")) })
	c := newClient(t, Config{Auth: Auth{Bearer: connector.SecretFile(file)}}, Options{})
	_, err := get(t.Context(), c, url)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, connector.Unavailable, connector.Classify(err))
	for _, token := range []string{"first", "the second"} {
		require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
		resp, err := get(t.Context(), c, url)
		require.NoError(t, err)
		require.Equal(t, "Bearer "+token, string(resp.Body))
	}
}

func TestOwnCertificateAuthority(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	require.NoError(t, os.WriteFile(file, block, 0o600))
	_, err := get(t.Context(), newClient(t, Config{TLS: connector.TLS{CAFile: file}}, Options{}), srv.URL)
	require.NoError(t, err)
	_, err = get(t.Context(), newClient(t, Config{TLS: connector.TLS{CAFile: file, ServerName: "other.example"}}, Options{}), srv.URL)
	require.Equal(t, connector.Unavailable, connector.Classify(err))

	require.NoError(t, os.WriteFile(file, []byte("no certificate"), 0o600))
	_, err = New(Config{TLS: connector.TLS{CAFile: file}}, Options{})
	require.ErrorContains(t, err, "holds no certificate in PEM")
}

func TestValidate(t *testing.T) {
	t.Parallel()
	both := Auth{Bearer: connector.NewSecret("a"), APIKey: &APIKey{Header: "no header"}}
	require.Equal(t, []connector.Mistake{
		{Message: "more than one of bearer, basic, api_key, oauth2 and mtls is set"},
		{Path: "api_key.header", Message: `"no header" is no name of a header`},
	}, both.Validate())
	require.Len(t, (&connector.TLS{CertFile: "cert.pem"}).Validate(), 1)
	require.Empty(t, (&Auth{Basic: &Basic{}}).Validate())
	require.Empty(t, (&connector.TLS{CertFile: "cert.pem", KeyFile: "key.pem"}).Validate())
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://a.example/x?y=z":   "",
		"http://[::1]:80":           "",
		"http://a.example:":         "",
		"a.example":                 "want http://HOST or https://HOST",
		"ftp://a.example":           "want http://HOST or https://HOST",
		"https://":                  "want http://HOST or https://HOST",
		"https://:80":               "want http://HOST or https://HOST",
		"https://a.example/%zz":     `invalid URL escape "%zz"`,
		"https://kate:hush@example": "credentials belong under auth, not into the url",
	} {
		if u, err := ParseURL(text); want != "" {
			require.EqualError(t, err, want, text)
		} else {
			require.NoError(t, err, text)
			require.Equal(t, strings.TrimSuffix(text, ":"), u.String())
		}
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	var traceparent string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		traceparent = r.Header.Get("Traceparent")
		w.WriteHeader(http.StatusTeapot)
	})
	ctx, parent := provider.Tracer("test").Start(t.Context(), "attempt")
	_, err := get(ctx, newClient(t, Config{}, Options{}), url+"/rules?token=hush")
	require.NoError(t, err)
	parent.End()

	span := recorder.Ended()[0]
	require.Equal(t, "GET", span.Name())
	require.Equal(t, parent.SpanContext().SpanID(), span.Parent().SpanID())
	require.Equal(t, "00-"+parent.SpanContext().TraceID().String()+"-"+span.SpanContext().SpanID().String()+"-01", traceparent)
	got := map[attribute.Key]string{}
	for _, a := range span.Attributes() {
		got[a.Key] = a.Value.String()
	}
	delete(got, "server.port")
	require.Equal(t, map[attribute.Key]string{
		"http.request.method": "GET", "server.address": "127.0.0.1", "url.full": url + "/rules",
		"http.response.status_code": "418", "error.type": "418",
	}, got)
}
