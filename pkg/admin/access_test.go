package admin

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

const (
	boss  = "token-of-the-boss-0123456789"
	guest = "token-of-the-guest-012345678"
)

// guarded is an admin API that counts what got through to be changed.
type guarded struct {
	t       *testing.T
	access  *Access
	handler http.Handler
	changes []string
}

func newGuarded(t *testing.T, c Config) *guarded {
	t.Helper()
	a, err := NewAccess(c, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	g := &guarded{t: t, access: a}
	g.handler = a.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := UserOf(r.Context())
		if r.Method == http.MethodPost {
			g.changes = append(g.changes, u.Name)
		}
		_, _ = io.WriteString(w, u.Name+" "+string(u.Role))
	}))
	return g
}

func secured() Config {
	return Config{
		Listen: ":8081",
		Tokens: []connector.Named[Token]{
			{Name: "boss", Value: Token{Role: "operator", Token: connector.NewSecret(boss)}},
			{Name: "guest", Value: Token{Role: "viewer", Token: connector.NewSecret(guest)}},
		},
		Proxy: &Proxy{
			Addresses: []string{"10.0.0.0/8"}, UserHeader: "X-Forwarded-User", GroupsHeader: "X-Forwarded-Groups",
			Operators: []string{"ops"}, Viewers: []string{"readers"},
		},
	}
}

// ask sends a request from an address, with "Name: value" headers.
func (g *guarded) ask(method, path, from, body string, headers ...string) *httptest.ResponseRecorder {
	g.t.Helper()
	r := httptest.NewRequestWithContext(g.t.Context(), method, "http://console.example"+path, strings.NewReader(body))
	r.RemoteAddr = from + ":1234"
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, r)
	return w
}

// cookie logs in and returns the header that a browser then sends.
func (g *guarded) cookie(token string) string {
	g.t.Helper()
	w := g.ask(http.MethodPost, "/api/login", "192.0.2.9", `{"token": "`+token+`"}`)
	require.Equal(g.t, http.StatusOK, w.Code, w.Body)
	c := w.Result().Cookies()[0]
	require.True(g.t, c.HttpOnly)
	require.Equal(g.t, http.SameSiteStrictMode, c.SameSite)
	require.NotContains(g.t, c.Value, token)
	return "Cookie: " + c.Name + "=" + c.Value
}

// TestWhoMayDoWhat is the promise: an anonymous, a viewer's and a forged request change
// nothing.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	asBoss, asGuest := newGuarded(t, secured()).cookie(boss), newGuarded(t, secured()).cookie(guest)
	const user, ops = "X-Forwarded-User: ana", "X-Forwarded-Groups: staff, ops"
	for name, c := range map[string]struct {
		from         string
		headers      []string
		look, change int
		author       string
	}{
		"anonymous":                       {"192.0.2.1", nil, 401, 401, ""},
		"viewer's token":                  {"192.0.2.1", []string{"Authorization: Bearer " + guest}, 200, 403, ""},
		"viewer's session":                {"192.0.2.1", []string{asGuest}, 200, 403, ""},
		"operator's token":                {"192.0.2.1", []string{"Authorization: Bearer " + boss}, 200, 200, "boss"},
		"operator's session":              {"192.0.2.1", []string{asBoss, "Sec-Fetch-Site: same-origin"}, 200, 200, "boss"},
		"operator, forged by a site":      {"192.0.2.1", []string{asBoss, "Sec-Fetch-Site: cross-site"}, 200, 403, ""},
		"operator, forged by a subdomain": {"192.0.2.1", []string{asBoss, "Sec-Fetch-Site: same-site"}, 200, 403, ""},
		"operator, forged, old browser":   {"192.0.2.1", []string{asBoss, "Origin: https://evil.example"}, 200, 403, ""},
		"no such token":                   {"192.0.2.1", []string{"Authorization: Bearer x" + boss}, 401, 401, ""},
		"session with another name":       {"192.0.2.1", []string{strings.Replace(asGuest, "Z3Vlc3Q", "Ym9zcw", 1)}, 401, 401, ""},
		"session made longer":             {"192.0.2.1", []string{strings.Replace(asBoss, ".1", ".2", 1)}, 401, 401, ""},
		"session of nonsense":             {"192.0.2.1", []string{"Cookie: policysync=a.b"}, 401, 401, ""},
		"proxy's operator":                {"10.1.2.3", []string{user, ops}, 200, 200, "ana"},
		"proxy's operator, forged":        {"10.1.2.3", []string{user, ops, "Sec-Fetch-Site: cross-site"}, 200, 403, ""},
		"proxy's viewer":                  {"10.1.2.3", []string{user, "X-Forwarded-Groups: readers"}, 200, 403, ""},
		"proxy's stranger":                {"10.1.2.3", []string{user, "X-Forwarded-Groups: other"}, 403, 403, ""},
		"proxy's, without groups":         {"10.1.2.3", []string{user}, 403, 403, ""},
		"headers from elsewhere":          {"192.0.2.1", []string{user, ops}, 401, 401, ""},
		"user smuggled through":           {"10.1.2.3", []string{user, "X-Forwarded-User: eve", ops}, 401, 401, ""},
		"groups smuggled through":         {"10.1.2.3", []string{user, "X-Forwarded-Groups: none", ops}, 401, 401, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t, secured())
			require.Equal(t, c.look, g.ask(http.MethodGet, "/api/status", c.from, "", c.headers...).Code)
			require.Equal(t, c.change, g.ask(http.MethodPost, "/api/pause", c.from, "{}", c.headers...).Code)
			require.NotEqual(t, http.StatusOK, g.ask(http.MethodPost, "/elsewhere", "192.0.2.7", "{}").Code, "no path is open to change")
			if c.author == "" {
				require.Empty(t, g.changes)
			} else {
				require.Equal(t, []string{c.author}, g.changes)
			}
			require.Equal(t, http.StatusOK, g.ask(http.MethodGet, "/", c.from, "").Code, "the page that asks for the token")
			require.Equal(t, http.StatusOK, g.ask(http.MethodGet, SessionPath, c.from, "").Code)
		})
	}
}

// Without a login everybody on this machine may look and nobody may change anything, and
// no name that somebody else's DNS points here is answered.
func TestWithoutALogin(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, Config{Listen: "127.0.0.1:8081"})
	for _, host := range []string{"localhost:8081", "127.0.0.1:8081", "[::1]:8081"} {
		require.Equal(t, http.StatusOK, g.ask(http.MethodGet, "/api/status", "127.0.0.1", "", "Host: "+host).Code, host)
	}
	require.Equal(t, http.StatusForbidden, g.ask(http.MethodGet, "/api/status", "127.0.0.1", "", "Host: rebound.example:8081").Code)
	require.Equal(t, http.StatusForbidden, g.ask(http.MethodPost, "/api/pause", "127.0.0.1", "{}", "Host: localhost:8081").Code)
	require.Empty(t, g.changes)
}

func TestRefusesToListen(t *testing.T) {
	t.Parallel()
	login := secured()
	for listen, refused := range map[string]bool{
		"127.0.0.1:8081": false, "127.9.9.9:1": false, "[::1]:8081": false, "localhost:8081": false,
		":8081": true, "0.0.0.0:8081": true, "[::]:8081": true, "10.0.0.1:8081": true, "console.example:443": true, "localhost.example:1": true,
	} {
		c := Config{Listen: listen}
		require.Equal(t, refused, len(c.Validate()) == 1, listen)
		login.Listen = listen
		require.Empty(t, login.Validate())
	}
}

// A session ends by time, and when the token's file changes.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(boss+"\n"), 0o600))
	c := Config{Tokens: []connector.Named[Token]{{Name: "boss", Value: Token{Role: "operator", Token: connector.SecretFile(file)}}}}
	g := newGuarded(t, c)
	cookie := g.cookie(boss)
	look := func() int { return g.ask(http.MethodGet, "/api/status", "192.0.2.1", "", cookie).Code }
	require.Equal(t, http.StatusOK, look())
	require.Equal(t, http.StatusOK, (&guarded{t: t, handler: newGuarded(t, c).handler}).ask(
		http.MethodGet, "/api/status", "192.0.2.1", "", cookie).Code, "another member knows it too")

	later := time.Now().Add(sessionTime + time.Second)
	g.access.now = func() time.Time { return later }
	require.Equal(t, http.StatusUnauthorized, look())
	g.access.now = time.Now
	require.Equal(t, http.StatusOK, look())

	require.NoError(t, os.WriteFile(file, []byte(boss+"-changed\n"), 0o600))
	require.Equal(t, http.StatusUnauthorized, look())
	require.Equal(t, http.StatusOK, g.ask(http.MethodGet, "/api/status", "192.0.2.1", "", "Authorization: Bearer "+boss+"-changed").Code)
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Equal(t, http.StatusUnauthorized, g.ask(http.MethodGet, "/api/status", "192.0.2.1", "", "Authorization: Bearer ").Code, "an empty token is none")

	out := g.ask(http.MethodPost, "/api/logout", "192.0.2.1", "").Result().Cookies()[0]
	require.Negative(t, out.MaxAge)
}

func TestTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	_, err := NewAccess(Config{Tokens: []connector.Named[Token]{
		{Name: "ana", Value: Token{Token: connector.NewSecret("short")}},
		{Name: "ben", Value: Token{Token: connector.SecretFile("/nowhere")}},
	}}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "admin.tokens.ana: want at least 16 bytes, have 5")
	require.ErrorContains(t, err, "admin.tokens.ben: read secret: ")
	require.NotContains(t, err.Error(), "short")
}

// Guessing is slow, for the client that guesses and nobody else.
func TestLimits(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, secured())
	try := func(from, token string, headers ...string) int {
		return g.ask(http.MethodPost, "/api/login", from, `{"token": "`+token+`"}`, headers...).Code
	}
	for range 5 {
		require.Equal(t, http.StatusUnauthorized, try("192.0.2.1", "no"))
	}
	require.Equal(t, http.StatusTooManyRequests, try("192.0.2.1", boss), "right ones are not looked at either")
	require.Equal(t, http.StatusTooManyRequests, g.ask(http.MethodGet, "/api/status", "192.0.2.1", "", "Authorization: Bearer no").Code)
	require.Equal(t, http.StatusOK, try("192.0.2.2", boss))
	require.Equal(t, http.StatusOK, try("10.0.0.1", boss, "X-Forwarded-For: 192.0.2.1, 192.0.2.3"), "the proxy's own word counts")
	require.Equal(t, http.StatusTooManyRequests, try("10.0.0.1", boss, "X-Forwarded-For: 192.0.2.3, 192.0.2.1"))

	codes := map[int]int{}
	for range 300 {
		codes[g.ask(http.MethodGet, "/", "192.0.2.4", "").Code]++
	}
	require.GreaterOrEqual(t, codes[http.StatusOK], 200)
	require.Positive(t, codes[http.StatusTooManyRequests])
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, secured())
	for _, path := range []string{"/", "/api/status"} {
		h := g.ask(http.MethodGet, path, "192.0.2.1", "").Header()
		require.NotContains(t, h.Get("Content-Security-Policy"), "unsafe")
		require.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'")
		require.Contains(t, h.Get("Content-Security-Policy"), "frame-ancestors 'none'")
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
		require.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
	}
	require.Equal(t, "no-store", g.ask(http.MethodGet, "/api/status", "192.0.2.1", "").Header().Get("Cache-Control"))
	secure := g.ask(http.MethodPost, "/api/login", "10.0.0.1", `{"token": "`+boss+`"}`, "X-Forwarded-Proto: https")
	require.True(t, secure.Result().Cookies()[0].Secure)
}
