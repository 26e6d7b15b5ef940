//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// held is what an external system has: the version of each policy.
type held struct {
	mu        sync.Mutex
	versions  map[string]int64
	calls     int
	backwards int // a version that came after a newer one
	unproven  int // requests that did not prove who sent them
}

func (h *held) put(key string, version int64) {
	if version < h.versions[key] {
		h.backwards++
	}
	h.versions[key] = version
}

func (h *held) read() (versions map[string]int64, calls int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.versions), h.calls
}

// An API over TLS that wants a client's certificate and takes batches, another that
// takes OAuth2 tokens and revokes each after 50 requests, a partner that verifies each
// webhook by another's implementation, and a real calendar: with a kill -9 in the
// middle each ends up with the newest version of every policy, and no refused one
// stands in the way of its batch.
func TestHTTPTargetsSurviveAKill(t *testing.T) {
	const policies, versions = 60, 5
	w := newWorld(t, 4)
	batches, tokens, partner := &held{versions: map[string]int64{}}, &held{versions: map[string]int64{}}, &held{versions: map[string]int64{}}
	at, files := batchAPI(t, batches)
	calendar := newCalendar(t)
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("a secret of at least 24 bytes"))
	w.configure(strings.NewReplacer("@batches", at, "@files", files, "@tokens", tokenAPI(t, tokens),
		"@partner", webhookPartner(t, partner, secret), "@secret", secret, "@calendar", calendar.url).Replace(`
  batches:
    connector: http
    bulk: {url: "@batches", in: items, results: response.results, status: result.status}
    delete: ignore
    map: {id: event.payload.policyId, version: event.version}
    tls: {ca_file: "@files/ca.pem"}
    auth: {mtls: {cert_file: "@files/cert.pem", key_file: "@files/key.pem"}}
    batch: {size: 20, linger: 10ms}
    timeout: 2s
  tokens:
    connector: http
    url: "@tokens/rules"
    delete: ignore
    map: {id: event.payload.policyId, version: event.version}
    auth: {oauth2: {token_url: "@tokens/token", client_id: e2e, client_secret: open-sesame}}
    timeout: 2s
  partner:
    connector: webhook
    url: "@partner"
    signing: {secrets: ["@secret"]}
    timeout: 2s
  calendar:
    connector: caldav
    url: "@calendar"
    auth: {basic: {username: e2e, password: open-sesame}}
    map: {summary: event.payload.name, start: event.payload.effectiveFrom}
    timeout: 2s
    concurrency: 4
`))
	w.policysync("validate", "--connect", "-c", w.file)
	w.publish(policies, 1, versions)
	m := w.start()
	w.eventually("a third has arrived", time.Minute, func() bool { _, calls := partner.read(); return calls > policies*versions/3 })
	m.kill()
	m = w.start()
	w.settles(3 * time.Minute)

	want := map[string]int64{}
	for n := range policies {
		want[key(n)] = versions
	}
	require.Equal(t, want, calendar.versions(t))
	got, calls := partner.read()
	require.Equal(t, want, got)
	t.Logf("webhooks: %d for %d events", calls, policies*versions)
	got, calls = tokens.read()
	require.Equal(t, want, got)
	t.Logf("calls with tokens that live for 50: %d", calls)
	got, calls = batches.read()
	delete(want, key(7)) // which the API refuses
	require.Equal(t, want, got)
	t.Logf("batches: %d calls for %d events", calls, policies*versions)
	require.Less(t, calls, policies*versions)
	for name, h := range map[string]*held{"batches": batches, "tokens": tokens, "partner": partner} {
		require.Zero(t, h.unproven, name)
	}
	refused := map[string]string{} // a letter that no commit knew at the kill is written again, under its id
	for _, letter := range w.letters() {
		refused[header(letter, "policysync.id")] = header(letter, "policysync.target") + " " + string(letter.Key)
	}
	require.Len(t, refused, versions)
	for id, what := range refused {
		require.Equal(t, "batches "+key(7), what, id)
	}
	m.stop()
}

// batchAPI takes batches from who has a certificate, and refuses one policy. It
// returns its URL and where the certificates are.
func batchAPI(t *testing.T, h *held) (url, files string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var batch struct {
			Items []struct {
				ID      string
				Version int64
			}
		}
		_ = json.NewDecoder(r.Body).Decode(&batch)
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(r.TLS.PeerCertificates) == 0 {
			h.unproven++
		}
		h.calls++
		results := []map[string]int{}
		for _, item := range batch.Items {
			if item.ID == key(7) {
				results = append(results, map[string]int{"status": http.StatusUnprocessableEntity})
				continue
			}
			h.put(item.ID, item.Version)
			results = append(results, map[string]int{"status": http.StatusOK})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"results": results})
	}))
	files = t.TempDir()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	trusted := x509.NewCertPool()
	trusted.AddCert(cert)
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	for name, block := range map[string]*pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}, "cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem": {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(files, name), pem.EncodeToMemory(block), 0o600))
	}
	return srv.URL + "/rules:batch", files
}

// tokenAPI issues tokens and revokes each, without a word, after 50 requests.
func tokenAPI(t *testing.T, h *held) string {
	t.Helper()
	issued := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if r.URL.Path == "/token" {
			if _, secret, _ := r.BasicAuth(); secret != "open-sesame" {
				h.unproven++
			}
			issued++
			fmt.Fprintf(w, `{"access_token": "t%d", "token_type": "bearer", "expires_in": 3600}`, issued)
			return
		}
		if r.Method == http.MethodHead {
			return
		}
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer t%d", issued) || h.calls%50 == 49 {
			h.calls++
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.calls++
		var rule struct {
			ID      string
			Version int64
		}
		_ = json.NewDecoder(r.Body).Decode(&rule)
		h.put(rule.ID, rule.Version)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// webhookPartner verifies each request by another's implementation.
func webhookPartner(t *testing.T, h *held, secret string) string {
	t.Helper()
	verify, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return
		}
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.calls++
		if verify.Verify(body, r.Header) != nil {
			h.unproven++
		}
		var told struct {
			Key     string
			Version int64
		}
		_ = json.Unmarshal(body, &told)
		h.put(told.Key, told.Version)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// calendar is one on the real server.
type calendar struct{ url, withAccount string }

func newCalendar(t *testing.T) *calendar {
	t.Helper()
	c := &calendar{withAccount: fmt.Sprintf("%se2e%d/", address(t, "CALDAV"), time.Now().UnixNano())}
	u, err := url.Parse(c.withAccount)
	require.NoError(t, err)
	u.User = nil
	c.url = u.String()
	req, err := http.NewRequest("MKCALENDAR", c.withAccount, nil)
	require.NoError(t, err)
	resp, err := (&http.Client{}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	return c
}

// versions reads the calendar by another's client.
func (c *calendar) versions(t *testing.T) map[string]int64 {
	t.Helper()
	read := exec.Command(address(t, "PYTHON"), "../connectors/caldav/testdata/read.py", c.withAccount, "2026-12-01", "2026-12-02")
	read.Stderr = os.Stderr
	out, err := read.Output()
	require.NoError(t, err)
	var events map[string]struct{ Version int64 }
	require.NoError(t, json.Unmarshal(out, &events))
	versions := map[string]int64{}
	for key, e := range events {
		versions[key] = e.Version
	}
	return versions
}
