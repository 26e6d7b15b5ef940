package httpclient

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// issuer is a token endpoint: its tokens are token-1, token-2 and so on.
type issuer struct {
	issued atomic.Int64
	life   string // of a token, as JSON; empty: unsaid
	status atomic.Int64
	form   chan url.Values
	user   string
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	if i.form != nil {
		i.user, _, _ = r.BasicAuth()
		i.form <- r.PostForm
	}
	if status := i.status.Load(); status != 0 {
		w.WriteHeader(int(status))
		_, _ = io.WriteString(w, `{"error": "invalid_client: client+secret"}`)
		return
	}
	life := ""
	if i.life != "" {
		life = `, "expires_in": ` + i.life
	}
	fmt.Fprintf(w, `{"access_token": "token-%d", "token_type": "Bearer"%s}`, i.issued.Add(1), life)
}

func withTokens(url string) Config {
	return Config{Auth: Auth{OAuth2: &OAuth2{
		TokenURL: url, ClientID: "policysync", ClientSecret: connector.NewSecret("client secret"), Scopes: []string{"a", "b"},
	}}}
}

// tokenAPI lets in who carries the right token and echoes what it was sent.
func tokenAPI(t *testing.T, good *atomic.Value) string {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if want := good.Load(); want != nil && r.Header.Get("Authorization") != "Bearer "+want.(string) {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = io.WriteString(w, r.Header.Get("Authorization")+" "+string(body))
	})
}

func post(ctx context.Context, c *Client, url, body string) (*Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	return c.Do(req)
}

func TestTokenIsShared(t *testing.T) {
	t.Parallel()
	i := &issuer{life: "3600"}
	endpoint := serve(t, i.ServeHTTP)
	api := tokenAPI(t, new(atomic.Value))
	c := newClient(t, withTokens(endpoint), Options{Concurrency: 8})
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			resp, err := post(t.Context(), c, api, "x")
			if err != nil || string(resp.Body) != "Bearer token-1 x" {
				t.Errorf("%v: %s", err, resp.Body)
			}
		})
	}
	calls.Wait()
	require.EqualValues(t, 1, i.issued.Load())
}

// A server may revoke a token before its time: the request that it refuses is
// repeated once, with a new one, and never more.
func TestRefusedTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	i := &issuer{}
	endpoint := serve(t, i.ServeHTTP)
	var good atomic.Value
	good.Store("token-2")
	c := newClient(t, withTokens(endpoint), Options{})
	resp, err := post(t.Context(), c, tokenAPI(t, &good), "the body")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.Status)
	require.Equal(t, "Bearer token-2 the body", string(resp.Body))

	good.Store("none will do")
	resp, err = post(t.Context(), c, tokenAPI(t, &good), "x")
	require.NoError(t, err)
	require.Equal(t, connector.Unavailable, connector.Classify(resp.Err()))
	require.NotContains(t, resp.Err().Error(), "token-")
	require.EqualValues(t, 3, i.issued.Load())
}

func TestTokenEndpointFails(t *testing.T) {
	t.Parallel()
	i := &issuer{}
	endpoint := serve(t, i.ServeHTTP)
	api := tokenAPI(t, new(atomic.Value))
	c := newClient(t, withTokens(endpoint), Options{})
	for _, status := range []int64{400, 401, 404, 429, 500} {
		i.status.Store(status)
		_, err := post(t.Context(), c, api, "x")
		require.Equal(t, connector.Unavailable, connector.Classify(err), "status %d", status)
		require.ErrorContains(t, err, fmt.Sprintf("fetch token: POST %s: unexpected status %d", endpoint, status))
		require.NotContains(t, err.Error(), "client+secret")
	}
	for answer, want := range map[string]string{
		`<html>`: "no JSON", `{}`: "no bearer token", `{"access_token": "x", "token_type": "mac"}`: "no bearer token",
	} {
		odd := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
		_, err := post(t.Context(), newClient(t, withTokens(odd), Options{}), api, "x")
		require.ErrorContains(t, err, want)
		require.Equal(t, connector.Unavailable, connector.Classify(err))
	}
}

func TestTokenRequest(t *testing.T) {
	t.Parallel()
	i := &issuer{form: make(chan url.Values, 1)}
	cfg := withTokens(serve(t, i.ServeHTTP))
	cfg.Auth.OAuth2.Params = map[string]string{"audience": "https://api"}
	_, err := post(t.Context(), newClient(t, cfg, Options{}), tokenAPI(t, new(atomic.Value)), "x")
	require.NoError(t, err)
	require.Equal(t, url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}, "audience": {"https://api"}}, <-i.form)
	require.Equal(t, "policysync", i.user)

	cfg.Auth.OAuth2.ClientAuth = "body"
	_, err = post(t.Context(), newClient(t, cfg, Options{}), tokenAPI(t, new(atomic.Value)), "x")
	require.NoError(t, err)
	form := <-i.form
	require.Equal(t, "policysync", form.Get("client_id"))
	require.Equal(t, "client secret", form.Get("client_secret"))
	require.Empty(t, i.user)
}

// tripper answers without a network, so that the clock of a bubble can move.
type tripper struct{ http.Handler }

func (h tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// A token is renewed before it ends. While its endpoint is down it is used to its
// end, and the endpoint is not asked at each push.
func TestTokenIsRenewedEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: "100"}
		cfg := withTokens("http://issuer.example/token")
		tokens, err := newTokens(cfg.Auth.OAuth2, connector.Secret{})
		require.NoError(t, err)
		defer tokens.client.Close()
		asked := 0
		tokens.client.http.Transport = tripper{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			i.ServeHTTP(w, r)
		})}
		begin := time.Now()
		at := func(s int) string {
			<-time.After(time.Until(begin.Add(time.Duration(s) * time.Second)))
			token, err := tokens.get(t.Context(), "")
			if err != nil {
				return "none"
			}
			return token
		}
		require.Equal(t, "token-1", at(0))
		require.Equal(t, "token-1", at(89))
		require.Equal(t, "token-2", at(91))
		i.status.Store(503)
		require.Equal(t, "token-2", at(182), "it still works, and another is not to be had")
		require.Equal(t, "token-2", at(184))
		require.Equal(t, 3, asked, "a down endpoint was asked too often")
		require.Equal(t, "none", at(192))
		i.status.Store(0)
		require.Equal(t, "token-3", at(193))
	})
}

// The certificate is read for each connection: a server that asks for one lets in
// who has it.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, len(r.TLS.PeerCertificates))
	}))
	ca, certFile, keyFile := certificates(t, srv)
	_, err := get(t.Context(), newClient(t, Config{TLS: connector.TLS{CAFile: ca}}, Options{}), srv.URL)
	require.Equal(t, connector.Unavailable, connector.Classify(err))
	for name, cfg := range map[string]Config{
		"auth.mtls": {TLS: connector.TLS{CAFile: ca}, Auth: Auth{MTLS: &MTLS{CertFile: certFile, KeyFile: keyFile}}},
		"tls":       {TLS: connector.TLS{CAFile: ca, CertFile: certFile, KeyFile: keyFile}},
	} {
		resp, err := get(t.Context(), newClient(t, cfg, Options{}), srv.URL)
		require.NoError(t, err, name)
		require.Equal(t, "1", string(resp.Body), name)
	}
	require.NoError(t, os.Remove(certFile))
	cfg := Config{TLS: connector.TLS{CAFile: ca}, Auth: Auth{MTLS: &MTLS{CertFile: certFile, KeyFile: keyFile}}}
	_, err = get(t.Context(), newClient(t, cfg, Options{}), srv.URL)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, connector.Unavailable, connector.Classify(err))
}

func TestProxy(t *testing.T) {
	t.Parallel()
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.String()+" "+r.Header.Get("Proxy-Authorization"))
	})
	through := connector.NewSecret(strings.Replace(proxy, "http://", "http://kate:hush@", 1))
	resp, err := get(t.Context(), newClient(t, Config{Proxy: through}, Options{}), "http://api.example/rules")
	require.NoError(t, err)
	require.Equal(t, "http://api.example/rules Basic a2F0ZTpodXNo", string(resp.Body))

	_, err = New(Config{Proxy: connector.NewSecret("kate:hush@proxy")}, Options{})
	require.ErrorContains(t, err, "read proxy: want")
	require.NotContains(t, err.Error(), "hush")
}

func pemFile(t *testing.T, dir, name, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}
