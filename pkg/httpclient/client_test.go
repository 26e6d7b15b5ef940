package httpclient

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/pkg/connector"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, cfg Config, o Options) *Client {
	t.Helper()
	c, err := New(cfg, o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func get(ctx context.Context, c *Client, url string) (*Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return c.Do(req)
}

func TestStatusClasses(t *testing.T) {
	t.Parallel()
	const permanent, transient = connector.Permanent, connector.Transient
	const unavailable, throttled = connector.Unavailable, connector.Throttled
	for status, want := range map[int]connector.Class{
		204: permanent, 301: permanent, 302: permanent, 304: permanent, 307: permanent, 308: permanent,
		400: permanent, 402: permanent, 404: permanent, 405: permanent, 407: permanent, 409: permanent,
		410: permanent, 412: permanent, 413: permanent, 415: permanent, 422: permanent, 451: permanent,
		408: transient, 423: transient, 425: transient, 500: transient, 501: transient, 505: transient, 599: transient,
		401: unavailable, 403: unavailable, 502: unavailable, 503: unavailable, 504: unavailable,
		429: throttled,
	} {
		err := (&Response{Status: status, url: &url.URL{}}).Err()
		require.Equal(t, want, connector.Classify(err), "status %d", status)
	}
}

func TestThrottling(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		status int
		header string
		want   connector.Error
	}{
		{"429 in seconds", 429, "7", connector.Error{Class: connector.Throttled, After: 7 * time.Second}},
		{"429 at a date", 429, "Mon, 02 Nov 2026 10:01:30 GMT", connector.Error{Class: connector.Throttled, After: 90 * time.Second}},
		{"429 at a date gone by", 429, "Mon, 02 Nov 2026 09:00:00 GMT", connector.Error{Class: connector.Throttled}},
		{"429 without", 429, "", connector.Error{Class: connector.Throttled}},
		{"429 with garbage", 429, "-3 or so", connector.Error{Class: connector.Throttled}},
		{"503 in seconds", 503, "2", connector.Error{Class: connector.Throttled, After: 2 * time.Second, Overload: true}},
		{"503 at once", 503, "0", connector.Error{Class: connector.Throttled, Overload: true}},
		{"503 with garbage", 503, "soon", connector.Error{Class: connector.Unavailable}},
		{"500 with it", 500, "2", connector.Error{Class: connector.Transient}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &Response{url: &url.URL{}, Status: tt.status, Header: http.Header{}, received: now}
			r.Header.Set("Retry-After", tt.header)
			var got *connector.Error
			require.ErrorAs(t, r.Err(), &got)
			got.Err = nil
			require.Equal(t, tt.want, *got)
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"120", "Mon, 02 Nov 2026 10:01:30 GMT", "99999999999999999999", "-1", " 5 "} {
		f.Add(seed)
	}
	now := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		after, ok := parseRetryAfter(value, now)
		require.GreaterOrEqual(t, after, time.Duration(0))
		if !ok {
			require.Zero(t, after)
		}
	})
}

func TestNoAnswerIsUnavailable(t *testing.T) {
	t.Parallel()
	refused := httptest.NewServer(http.NotFoundHandler())
	refused.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	for _, tt := range []struct{ name, url string }{
		{"refused", refused.URL},
		{"no such name", "http://nowhere.invalid"},
		{"unknown certificate", secure.URL},
		{"cut off", serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })},
		{"cut off in the body", serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "short")
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := get(t.Context(), newClient(t, Config{}, Options{}), tt.url+"/rules?token=hush")
			require.Equal(t, connector.Unavailable, connector.Classify(err), "%v", err)
			require.ErrorContains(t, err, "GET "+tt.url+"/rules: ")
			require.NotContains(t, err.Error(), "hush")
		})
	}
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 2)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/late" { // which may end before it comes here
			arrived <- struct{}{}
		}
		<-r.Context().Done()
	})
	c := newClient(t, Config{}, Options{})

	revoked := errors.New("the partition was revoked")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-arrived; cancel(revoked) }()
	_, err := get(ctx, c, url)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, revoked)

	late, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	_, err = get(late, c, url+"/late")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, connector.Unavailable, connector.Classify(err))

	go func() { <-arrived; c.Close() }()
	_, err = get(t.Context(), c, url)
	require.ErrorIs(t, err, errClosed)
}

func TestCloseEndsConnections(t *testing.T) {
	t.Parallel()
	url := serve(t, func(http.ResponseWriter, *http.Request) {})
	c := newClient(t, Config{}, Options{})
	dial := c.dial(&net.Dialer{})
	conn, err := dial(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	c.Close()
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = dial(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	require.ErrorIs(t, err, errClosed)
	_, err = get(t.Context(), c, url)
	require.ErrorIs(t, err, errClosed)
}

func TestUserInURL(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		got <- user + " " + password
	})
	_, err := get(t.Context(), newClient(t, Config{}, Options{}), strings.Replace(url, "//", "//ann:hush@", 1))
	require.NoError(t, err)
	require.Equal(t, "ann hush", <-got)
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	followed := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("followed with %v", r.Header) })
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, followed, http.StatusTemporaryRedirect)
	})
	resp, err := get(t.Context(), newClient(t, Config{}, Options{}), url)
	require.NoError(t, err)
	require.Equal(t, http.StatusTemporaryRedirect, resp.Status)
}

func TestConnectionIsKept(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, strings.Repeat("x", 100_000))
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	c := newClient(t, Config{}, Options{})
	for range 3 {
		resp, err := get(t.Context(), c, srv.URL)
		require.NoError(t, err)
		require.Len(t, resp.Body, 100_000)
	}
	require.EqualValues(t, 1, opened.Load())
}

func TestBodyIsBounded(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, io.LimitReader(zeros{}, 8*maxBody))
	})
	resp, err := get(t.Context(), newClient(t, Config{}, Options{}), url)
	require.NoError(t, err)
	require.Len(t, resp.Body, maxBody)
	require.True(t, resp.Truncated)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestPublicOnly(t *testing.T) {
	t.Parallel()
	url := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	for _, url := range []string{url, "http://localhost:" + port} {
		_, err := get(t.Context(), newClient(t, Config{}, Options{PublicOnly: true}), url)
		var private *PrivateAddressError
		require.ErrorAs(t, err, &private)
		require.Equal(t, connector.Permanent, connector.Classify(err))
	}
	_, err = get(t.Context(), newClient(t, Config{AllowPrivateAddresses: true}, Options{PublicOnly: true}), url)
	require.NoError(t, err)
}

func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"93.184.215.14:443": true, "[2606:4700::1111]:443": true, "[::ffff:93.184.215.14]:443": true,
		"127.0.0.1:80": false, "10.1.2.3:80": false, "172.31.0.1:80": false, "192.168.0.1:80": false,
		"169.254.169.254:80": false, "100.64.0.1:80": false, "0.0.0.0:80": false, "0.1.2.3:80": false,
		"224.0.0.1:80": false, "255.255.255.255:80": false, "198.18.0.1:80": false, "203.0.113.9:80": false,
		"[::1]:80": false, "[::]:80": false, "[fe80::1%eth0]:80": false, "[fd00::1]:80": false,
		"[ff02::1]:80": false, "[::ffff:10.0.0.1]:80": false, "[64:ff9b::a00:1]:80": false,
		"[2002:a00:1::]:80": false, "[2001:0:1::]:80": false, "[2001:db8::1]:80": false, "not an address": false,
	} {
		require.Equal(t, want, refusePrivate("tcp", address, syscall.RawConn(nil)) == nil, address)
	}
}
