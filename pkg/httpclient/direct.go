package httpclient

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

const (
	idleTimeout      = 90 * time.Second
	handshakeTimeout = 10 * time.Second
	// directBody is the longest body of a direct request. It fits into the buffers of
	// a socket, so that a server which answers without reading it all is heard.
	directBody = 64 << 10
)

// direct speaks HTTP/1.1 on the goroutine of its caller, where net/http has two more
// for each connection. What it does not do, proxies, long bodies and hosts beyond
// ASCII, it leaves to net/http. It is safe for concurrent use.
type direct struct {
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	tls   *tls.Config
	proxy func(*http.Request) (*url.URL, error)
	other http.RoundTripper
	most  int // connections that are kept

	mu    sync.Mutex
	kept  []*wire // what was used last comes last
	sweep *time.Timer
}

// RoundTrip sends a request and returns the answer once its header is there. A request
// that got no byte of an answer on a kept connection is sent once more, under the
// conditions of net/http: it may have been closed meanwhile.
func (d *direct) RoundTrip(req *http.Request) (*http.Response, error) {
	if !d.takes(req) {
		return d.other.RoundTrip(req)
	}
	for {
		w, err := d.connect(req)
		if err != nil {
			closeBody(req)
			return nil, err
		}
		resp, err := w.exchange(req)
		if err == nil || !w.kept || !w.silent() || req.Context().Err() != nil || !replayable(req) {
			return resp, err
		}
		if req.GetBody != nil {
			again := *req
			if again.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
			req = &again
		}
	}
}

// takes reports whether the request is one to be sent directly. What net/http would
// refuse is left to it too.
func (d *direct) takes(req *http.Request) bool {
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" || req.URL.Host == "" || len(req.TransferEncoding) > 0 {
		return false
	}
	if req.Body != nil && (req.ContentLength <= 0 || req.ContentLength > directBody) {
		return false
	}
	if strings.ContainsFunc(req.URL.Host, func(c rune) bool { return c >= utf8.RuneSelf }) {
		return false
	}
	for _, values := range req.Header {
		if slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			return false
		}
	}
	if d.proxy == nil {
		return true
	}
	proxy, err := d.proxy(req)
	return proxy == nil && err == nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// replayable is net/http's condition for sending a request once more.
func replayable(req *http.Request) bool {
	if req.Body != nil && req.GetBody == nil {
		return false
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return req.Header["Idempotency-Key"] != nil || req.Header["X-Idempotency-Key"] != nil
}

// connect returns a kept connection to the host of the request, or a new one.
func (d *direct) connect(req *http.Request) (*wire, error) {
	host := req.URL.Scheme + "://" + req.URL.Host
	for w := d.take(host); w != nil; w = d.take(host) {
		if w.quiet() {
			w.kept = true
			return w, nil
		}
		_ = w.conn.Close()
	}
	port := req.URL.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[req.URL.Scheme]
	}
	conn, err := d.dial(req.Context(), "tcp", net.JoinHostPort(req.URL.Hostname(), port))
	if err != nil {
		return nil, err
	}
	w := newWire(d, host, conn)
	if req.URL.Scheme == "https" {
		err = w.secure(req.Context(), d.tls, req.URL.Hostname())
	}
	return w, err
}

func (d *direct) take(host string) *wire {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, w := range slices.Backward(d.kept) {
		if w.host == host {
			d.kept = slices.Delete(d.kept, i, i+1)
			return w
		}
	}
	return nil
}

// keep keeps a connection for other requests. If there are too many it takes the place
// of the one that was unused for longest.
func (d *direct) keep(w *wire) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.since = time.Now()
	d.kept = append(d.kept, w)
	if len(d.kept) > d.most {
		_ = d.kept[0].conn.Close()
		d.kept = slices.Delete(d.kept, 0, 1)
	}
	if d.sweep == nil {
		d.sweep = time.AfterFunc(idleTimeout, d.expire)
	}
}

// expire closes what was not used for long.
func (d *direct) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := time.Now().Add(-idleTimeout)
	for len(d.kept) > 0 && !d.kept[0].since.After(old) {
		_ = d.kept[0].conn.Close()
		d.kept = slices.Delete(d.kept, 0, 1)
	}
	d.sweep = nil
	if len(d.kept) > 0 {
		d.sweep = time.AfterFunc(d.kept[0].since.Sub(old), d.expire)
	}
}

// CloseIdleConnections closes what is kept.
func (d *direct) CloseIdleConnections() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.kept {
		_ = w.conn.Close()
	}
	d.kept = nil
	if d.sweep != nil {
		d.sweep.Stop()
		d.sweep = nil
	}
}
