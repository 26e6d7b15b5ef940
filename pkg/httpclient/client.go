// Package httpclient is the one way in which policysync speaks HTTP to others. It
// owns credentials, connections, trace propagation, the class of each failure
// (by status and by what went wrong on the way, never by text), Retry-After, and
// what of a request may appear in an error. It leaves to its callers what to send
// and which statuses mean that it worked.
package httpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
)

// maxBody bounds what is read of a response. An answer to a push is short; more
// is a mistake, or an attack on our memory.
const (
	maxBody   = 1 << 20
	maxHeader = 64 << 10
)

var errClosed = errors.New("client is closed")

// Options are what the caller knows better than the config.
type Options struct {
	// Concurrency is how many requests may run at a time: as many idle connections
	// are kept per host. 0 stands for 2.
	Concurrency int
	// PublicOnly refuses to connect to an address that is not public, unless the
	// config allows private ones. It is for hosts that come from an expression. No
	// proxy is used then: it would connect where we cannot see.
	PublicOnly bool
}

// Client sends requests with the credentials of its config. It follows no
// redirect, which would carry them elsewhere. It is safe for concurrent use.
type Client struct {
	http      *http.Client
	transport *http.Transport
	// credentials is read by requests in flight.
	credentials *credentials
	// closing ends when Close is called, and with it the connections: that ends the
	// requests in flight without a context for each.
	closing context.Context
	close   context.CancelFunc
}

// New returns a client. It connects to nothing; its error is a file of the config
// that cannot be used.
func New(cfg Config, o Options) (*Client, error) {
	secure, err := cfg.TLS.Config()
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if m := cfg.Auth.MTLS; m != nil {
		secure.GetClientCertificate = connector.ClientCertificate(m.CertFile, m.KeyFile)
	}
	proxy, err := proxyOf(cfg.Proxy)
	if err != nil {
		return nil, err
	}
	idle := max(o.Concurrency, 2)
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy:                  proxy,
		TLSClientConfig:        secure,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           max(idle, 100),
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
		// A connection that died without a word would else fail every push that
		// shares it, each by its timeout.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
	if o.PublicOnly && !cfg.AllowPrivateAddresses {
		dialer.Control = refusePrivate
		t.Proxy = nil
	}
	c := &Client{transport: t, credentials: &credentials{auth: &cfg.Auth, signature: cfg.Signature}}
	t.DialContext = c.dial(dialer)
	if cfg.Auth.OAuth2 != nil {
		if c.credentials.tokens, err = newTokens(cfg.Auth.OAuth2, cfg.Proxy); err != nil {
			return nil, err
		}
	}
	c.closing, c.close = context.WithCancel(context.Background())
	c.http = &http.Client{
		Transport:     &roundTripper{next: t, credentials: c.credentials},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// HTTP returns the plain client, with credentials and tracing but without classes
// of errors, for a library that wants one.
func (c *Client) HTTP() *http.Client { return c.http }

// Close ends the requests in flight and closes all connections.
func (c *Client) Close() {
	c.close()
	c.transport.CloseIdleConnections()
	if c.credentials.tokens != nil {
		c.credentials.tokens.client.Close()
	}
}

// proxyOf returns how to find the proxy of a request.
func proxyOf(proxy connector.Secret) (func(*http.Request) (*url.URL, error), error) {
	if proxy.IsZero() {
		return http.ProxyFromEnvironment, nil
	}
	text, err := proxy.Reveal()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" { // the text may hold a password
		return nil, errors.New("read proxy: want http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")
	}
	return http.ProxyURL(u), nil
}

// Do sends req and reads the whole answer, whatever its status: see
// [Response.Err]. Its own error means that there was no answer. It has a class
// and names the method and the URL, without user, password and query; if the
// context of req has ended, the error wraps the context's.
func (c *Client) Do(req *http.Request) (*Response, error) {
	if c.closing.Err() != nil {
		return nil, c.failure(req, errClosed)
	}
	// What http.Client adds to its transport, redirects and cookies, is not wanted.
	resp, err := c.http.Transport.RoundTrip(req)
	if err != nil {
		return nil, c.failure(req, err)
	}
	defer resp.Body.Close()
	r := &Response{
		Status: resp.StatusCode, Header: resp.Header,
		method: req.Method, url: req.URL, credentials: c.credentials, received: time.Now(),
	}
	if resp.ContentLength == 0 {
		return r, nil
	}
	// One byte more than the bound tells a cut body from one that just fits. What
	// lies beyond is not drained: closing then costs a connection, not time.
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, c.failure(req, fmt.Errorf("read response: %w", err))
	}
	r.Body, r.Truncated = body[:min(len(body), maxBody)], len(body) > maxBody
	return r, nil
}

// failure classifies the reason for which a request got no answer. Nearly all of
// them say that the server is not there; the rest come from values of the event.
func (c *Client) failure(req *http.Request, err error) error {
	if named, ok := errors.AsType[*url.Error](err); ok {
		err = named.Err // the text of named holds a query
	}
	if ctx := req.Context(); ctx.Err() != nil {
		// net/http reports the cause alone, which need not wrap the context's error.
		if err = context.Cause(ctx); !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	} else if c.closing.Err() != nil {
		err = errClosed
	}
	err = fmt.Errorf("%s: %w", describe(req), err)
	if _, private := errors.AsType[*PrivateAddressError](err); private {
		return connector.AsPermanent(err)
	}
	return connector.AsUnavailable(err)
}
