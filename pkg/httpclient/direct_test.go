package httpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// connections is a server that hands each connection to the next of the given functions.
func connections(t *testing.T, each ...func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, serve := range each {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn, bufio.NewReader(conn))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

// takeOne reads a request and its body.
func takeOne(in *bufio.Reader) {
	if req, err := http.ReadRequest(in); err == nil {
		_, _ = io.Copy(io.Discard, req.Body)
	}
}

const yes, no = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"

// An answer that nobody asked for must not be taken for that to the next request:
// the push that it stands for might never have arrived. net/http sees to it as well, but
// on a goroutine that may come late.
func TestUnaskedAnswerIsOfNoRequest(t *testing.T) {
	t.Parallel()
	sent, asked := make(chan struct{}), make(chan struct{})
	url := connections(t, func(conn net.Conn, in *bufio.Reader) {
		takeOne(in)
		_, _ = io.WriteString(conn, yes)
		<-asked
		_, _ = io.WriteString(conn, yes)
		close(sent)
		_, _ = conn.Read(make([]byte, 1)) // until the client closes it
	}, func(conn net.Conn, in *bufio.Reader) {
		takeOne(in)
		_, _ = io.WriteString(conn, no)
	})
	c := newClient(t, onlyHTTP1, Config{}, Options{})
	_, err := post(t.Context(), c, url, "first")
	require.NoError(t, err)
	close(asked)
	<-sent
	resp, err := post(t.Context(), c, url, "second")
	require.NoError(t, err)
	require.Equal(t, "no", string(resp.Body))
}

// A connection that the server closed while it was kept fails no request.
func TestKeptConnectionIsClosed(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	answer := func(conn net.Conn, in *bufio.Reader) {
		takeOne(in)
		_, _ = io.WriteString(conn, yes)
		_ = conn.Close()
		closed <- struct{}{}
	}
	url := connections(t, answer, answer)
	c := newClient(t, onlyHTTP1, Config{}, Options{})
	for range 2 {
		_, err := post(t.Context(), c, url, "x")
		require.NoError(t, err)
		<-closed
	}
}

// A server that takes a request on a kept connection and closes it without a word gets
// the request once more only if that does no harm.
func TestRequestIsRepeated(t *testing.T) {
	for key, want := range map[string]string{"": "Unavailable", "records/0/7": "yes"} {
		t.Run("key "+key, func(t *testing.T) {
			bothWays(t, func(t *testing.T, version string) {
				answer := func(conn net.Conn, in *bufio.Reader) {
					takeOne(in)
					_, _ = io.WriteString(conn, yes)
					takeOne(in)
				}
				url := connections(t, answer, answer)
				c := newClient(t, version, Config{}, Options{})
				var resp *Response
				var err error
				for range 2 {
					req, fault := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("x"))
					require.NoError(t, fault)
					if key != "" {
						req.Header.Set("Idempotency-Key", key)
					}
					resp, err = c.Do(req)
				}
				if want == "yes" {
					require.NoError(t, err)
					require.Equal(t, want, string(resp.Body))
				} else {
					require.Equal(t, connector.Unavailable, connector.Classify(err))
				}
				c.Close()
			})
		})
	}
}

// A server that refuses a body before it has read it is heard: else a delivery that
// is too large would look like an outage.
func TestAnswerBeforeTheBodyIsRead(t *testing.T) {
	for name, size := range map[string]int{"short": 100, "as long as is sent directly": directBody, "longer": 4 << 20} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, version string) {
				done := make(chan struct{})
				url := connections(t, func(conn net.Conn, in *bufio.Reader) {
					_, _ = http.ReadRequest(in)
					_, _ = io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
					<-done // never to read the rest
				})
				resp, err := post(t.Context(), newClient(t, version, Config{}, Options{}), url, strings.Repeat("x", size))
				close(done)
				require.NoError(t, err)
				require.Equal(t, http.StatusRequestEntityTooLarge, resp.Status)
			})
		})
	}
}

// The answer to a request that was given up is not that to the next.
func TestInterruptedConnectionIsNotKept(t *testing.T) {
	bothWays(t, func(t *testing.T, version string) {
		arrived, answered := make(chan struct{}), make(chan struct{})
		url := connections(t, func(conn net.Conn, in *bufio.Reader) {
			takeOne(in)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun")
			close(arrived)
			<-answered
		}, func(conn net.Conn, in *bufio.Reader) {
			takeOne(in)
			_, _ = io.WriteString(conn, yes)
		})
		c := newClient(t, version, Config{}, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		_, err := post(ctx, c, url, "first")
		require.ErrorIs(t, err, context.Canceled)
		close(answered)
		resp, err := post(t.Context(), c, url, "second")
		require.NoError(t, err)
		require.Equal(t, "yes", string(resp.Body))
	})
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct{ name, answer, body, fault string }{
		{"early hints first", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + yes, "yes", ""},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n", "yes", ""},
		{"to the end", "HTTP/1.0 200 OK\r\n\r\nyes", "yes", ""},
		{"a header without end", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n", "", "header"},
		{"another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "", ""},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", "", "malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, version string) {
				url := connections(t, func(conn net.Conn, in *bufio.Reader) {
					takeOne(in)
					_, _ = io.WriteString(conn, tt.answer)
				})
				resp, err := post(t.Context(), newClient(t, version, Config{}, Options{}), url, "x")
				switch {
				case tt.fault != "":
					require.Equal(t, connector.Unavailable, connector.Classify(err))
					require.ErrorContains(t, err, tt.fault)
				case tt.body != "":
					require.NoError(t, err)
					require.Equal(t, tt.body, string(resp.Body))
				case err == nil: // net/http hands it on
					require.Error(t, resp.Err())
				}
			})
		})
	}
}

// A secret can't add a header.
func TestHeaderCannotBeSplit(t *testing.T) {
	bothWays(t, func(t *testing.T, version string) {
		url := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("sent with %v", r.Header) })
		cfg := Config{Auth: Auth{Bearer: connector.NewSecret("hush\r\nX-Evil: yes")}}
		_, err := post(t.Context(), newClient(t, version, cfg, Options{}), url, "x")
		require.ErrorContains(t, err, "Authorization")
		require.NotContains(t, err.Error(), "hush")
	})
}

func TestVersionOfHTTP(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{"auto": "HTTP/2.0", onlyHTTP1: "HTTP/1.1"} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if len(body) > 0 {
				_, _ = io.WriteString(w, r.Proto)
			}
		}))
		srv.EnableHTTP2 = true
		ca, certFile, keyFile := certificates(t, srv)
		c := newClient(t, version, Config{TLS: connector.TLS{CAFile: ca, CertFile: certFile, KeyFile: keyFile}}, Options{})
		for _, size := range []int{1, 1, directBody + 1} {
			resp, err := post(t.Context(), c, srv.URL, strings.Repeat("x", size))
			require.NoError(t, err)
			require.Equal(t, want, string(resp.Body))
		}
	}
}

// What is kept is bounded in number and time.
func TestKeptConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &direct{most: 2}
		closed := make(chan int, 3)
		for i := range 3 {
			ours, theirs := net.Pipe()
			go func() {
				_, _ = theirs.Read(make([]byte, 1))
				closed <- i
			}()
			d.keep(newWire(d, "http://one", ours))
			<-time.After(time.Second)
		}
		require.Equal(t, 0, <-closed)
		<-time.After(idleTimeout - 3*time.Second)
		synctest.Wait()
		require.Empty(t, closed)
		<-time.After(time.Second)
		require.Equal(t, 1, <-closed)
		d.CloseIdleConnections()
		require.Equal(t, 2, <-closed)
	})
}

// corked holds back what is written while it is told to.
type corked struct {
	net.Conn
	hold bool
	held []byte
}

func (c *corked) Write(p []byte) (int, error) {
	if c.hold {
		c.held = append(c.held, p...)
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// TLS may have read the unasked answer along with the one before, so that the socket
// has nothing to show.
func TestUnaskedAnswerWithinTLS(t *testing.T) {
	t.Parallel()
	pki := httptest.NewTLSServer(http.NotFoundHandler())
	defer pki.Close()
	say := func(answers ...string) func(net.Conn, *bufio.Reader) {
		return func(raw net.Conn, _ *bufio.Reader) {
			under := &corked{Conn: raw}
			conn := tls.Server(under, &tls.Config{Certificates: pki.TLS.Certificates})
			takeOne(bufio.NewReader(conn))
			under.hold = true
			for _, text := range answers {
				_, _ = io.WriteString(conn, text)
			}
			_, _ = raw.Write(under.held)
			_, _ = raw.Read(make([]byte, 1)) // until the client closes it
		}
	}
	url := connections(t, say(yes, yes), say(no))
	ca := pemFile(t, t.TempDir(), "ca.pem", "CERTIFICATE", pki.Certificate().Raw)
	c := newClient(t, onlyHTTP1, Config{TLS: connector.TLS{CAFile: ca}}, Options{})
	for _, want := range []string{"yes", "no"} {
		resp, err := post(t.Context(), c, strings.Replace(url, "http", "https", 1), "x")
		require.NoError(t, err)
		require.Equal(t, want, string(resp.Body))
	}
	c.Close()
}

// The end of a context may reach the connection after the answer did. It must not
// hit the next request.
func TestConnectionOfEndedContextIsNotKept(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "yes") })
	c := newClient(t, onlyHTTP1, Config{}, Options{})
	for _, end := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		require.NoError(t, err)
		resp, err := c.direct.RoundTrip(req)
		require.NoError(t, err)
		if end {
			cancel()
		}
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		cancel()
		require.NoError(t, resp.Body.Close())
		require.Equal(t, end, len(c.direct.kept) == 0)
	}
}
