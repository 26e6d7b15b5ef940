package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// The paths of the admin API that are answered to everybody.
const (
	SessionPath = "/api/session"
	loginPath   = "/api/login"
	logoutPath  = "/api/logout"
)

const cookieName = "policysync"

// Access stands before the admin API: it lets through what its user may do.
type Access struct {
	config   Config
	networks []netip.Prefix // of the proxy
	log      *slog.Logger
	now      func() time.Time

	requests, failures *limits
}

// NewAccess returns one. It fails if a token can't be read or could be guessed.
func NewAccess(c Config, log *slog.Logger) (*Access, error) {
	a := &Access{
		config: c, log: log, now: time.Now,
		requests: newLimits(20, 200), failures: newLimits(0.1, 5),
	}
	if c.Proxy != nil {
		for _, text := range c.Proxy.Addresses {
			p, err := network(text)
			if err != nil {
				return nil, fmt.Errorf("admin.proxy.addresses: %w", err)
			}
			a.networks = append(a.networks, p)
		}
	}
	var errs []error
	for _, t := range c.Tokens {
		token, err := t.Value.Token.Reveal()
		if err == nil && len(token) < MinToken {
			err = fmt.Errorf("want at least %d bytes, have %d: `openssl rand -hex 32` makes one", MinToken, len(token))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("admin.tokens.%s: %w", t.Name, err))
		}
	}
	return a, errors.Join(errs...)
}

// Guard returns the handler that serves h to those who may ask for it. What does more
// than look wants an operator, whatever its path; below /api/ to look wants a viewer;
// the rest, the console's own files, everybody may have. h finds the user by [UserOf].
func (a *Access) Guard(h http.Handler) http.Handler {
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		Refuse(w, http.StatusForbidden, "the request comes from another site")
	}))
	return a.secure(sameOrigin.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := a.client(r)
		if !a.requests.allow(client) {
			w.Header().Set("Retry-After", "1")
			Refuse(w, http.StatusTooManyRequests, "too many requests")
			return
		}
		// A name that a stranger's DNS points here would be of this origin to a browser.
		if a.config.Open() && !loopback(r.Host) {
			Refuse(w, http.StatusForbidden, "without a login only localhost is answered")
			return
		}
		looks := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case r.URL.Path == loginPath && r.Method == http.MethodPost:
			a.login(w, r, client)
			return
		case r.URL.Path == logoutPath && r.Method == http.MethodPost:
			a.setSession(w, r, "", -1)
			w.WriteHeader(http.StatusNoContent)
			return
		case looks && !strings.HasPrefix(r.URL.Path, "/api/"):
			h.ServeHTTP(w, r)
			return
		}
		u, wrong := a.user(r)
		if wrong && !a.failures.allow(client) {
			w.Header().Set("Retry-After", "10")
			Refuse(w, http.StatusTooManyRequests, "too many wrong tokens")
			return
		}
		switch {
		case looks && r.URL.Path == SessionPath:
		case u.Role == "" && u.Name == "" && !a.config.Open():
			w.Header().Set("WWW-Authenticate", `Bearer realm="policysync"`)
			Refuse(w, http.StatusUnauthorized, "log in first")
			return
		case u.Role == "":
			Refuse(w, http.StatusForbidden, u.Name+" is in no group that may look")
			return
		case !looks && u.Role != Operator:
			Refuse(w, http.StatusForbidden, "only an operator may change anything")
			return
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, u)))
	})))
}

// secure adds the headers that keep a browser from doing more than the console needs.
func (*Access) secure(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
			"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("X-Frame-Options", "DENY")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		if strings.HasPrefix(r.URL.Path, "/api/") {
			head.Set("Cache-Control", "no-store")
		}
		h.ServeHTTP(w, r)
	})
}

// login exchanges a token for a session. Without a wrong try left, right ones are not
// looked at either.
func (a *Access) login(w http.ResponseWriter, r *http.Request, client netip.Prefix) {
	var body struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&body); err != nil {
		Refuse(w, http.StatusBadRequest, `want {"token": "…"}`)
		return
	}
	if !a.failures.left(client) {
		w.Header().Set("Retry-After", "10")
		Refuse(w, http.StatusTooManyRequests, "too many wrong tokens: wait a moment")
		return
	}
	u, token, ok := a.byToken(strings.TrimSpace(body.Token))
	if !ok {
		a.failures.allow(client)
		a.log.WarnContext(r.Context(), "wrong token", "client", client.Addr().String())
		Refuse(w, http.StatusUnauthorized, "no such token")
		return
	}
	a.setSession(w, r, session(u.Name, token, a.now().Add(sessionTime)), int(sessionTime/time.Second))
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(u) //nolint:errchkjson // whom it would tell is gone
}

// setSession sets the cookie; a negative age takes it away.
func (a *Access) setSession(w http.ResponseWriter, r *http.Request, value string, age int) {
	encrypted := r.TLS != nil || a.trusted(peer(r)) && r.Header.Get("X-Forwarded-Proto") == "https"
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // secure wherever the browser's connection is
		Name: cookieName, Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: encrypted,
	})
}

// Refuse answers with an error as the admin API does.
func Refuse(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message}) //nolint:errchkjson // whom it would tell is gone
}

// peer is the address that a request comes from directly.
func peer(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

func (a *Access) trusted(addr netip.Addr) bool {
	for _, n := range a.networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// client is whom a request is counted on: the peer, or whom a trusted proxy says it
// speaks for. An IPv6 client has a whole network of addresses.
func (a *Access) client(r *http.Request) netip.Prefix {
	addr := peer(r)
	if a.trusted(addr) {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if said, err := netip.ParseAddr(strings.TrimSpace(hops[len(hops)-1])); err == nil {
			addr = said.Unmap().WithZone("")
		}
	}
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
