package httpclient

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// wire is one connection of [direct], used by one request at a time.
type wire struct {
	owner *direct
	host  string // scheme and host
	conn  net.Conn
	raw   syscall.RawConn // beneath TLS
	limit io.LimitedReader
	in    *bufio.Reader
	out   *bufio.Writer
	kept  bool // it had another request before
	since time.Time
	// peek, made once, sets empty if there is nothing to be read.
	peek  func(fd uintptr) bool
	empty bool
	// interrupt, made once, ends the request under way; stop ends the watch that calls it.
	interrupt func()
	stop      func() bool
}

func newWire(owner *direct, host string, conn net.Conn) *wire {
	w := &wire{owner: owner, host: host}
	if c, ok := conn.(syscall.Conn); ok {
		w.raw, _ = c.SyscallConn() // without it, it is not used twice
	}
	w.peek = func(fd uintptr) bool {
		w.empty = nothingToRead(int(fd))
		return true
	}
	w.interrupt = func() { _ = w.conn.SetDeadline(past) }
	w.speak(conn)
	return w
}

func (w *wire) speak(conn net.Conn) {
	w.conn = conn
	w.limit = io.LimitedReader{R: conn, N: math.MaxInt64}
	w.in, w.out = bufio.NewReader(&w.limit), bufio.NewWriter(conn)
}

func (w *wire) secure(ctx context.Context, config *tls.Config, server string) error {
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName = server
	}
	config.NextProtos = []string{"http/1.1"}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c := tls.Client(w.conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = w.conn.Close()
		return err
	}
	w.speak(c)
	return nil
}

var past = time.Unix(1, 0)

// quiet reports whether the server has neither closed the connection nor sent what
// nobody asked for, which would be taken for the answer to the next request.
func (w *wire) quiet() bool {
	if w.raw == nil || w.raw.Read(w.peek) != nil || !w.empty {
		return false
	}
	if _, secure := w.conn.(*tls.Conn); !secure {
		return true
	}
	// TLS may have read already what follows the last answer.
	if w.conn.SetReadDeadline(past) != nil {
		return false
	}
	_, err := w.conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded) && w.conn.SetReadDeadline(time.Time{}) == nil
}

// silent reports whether nothing came since the request began.
func (w *wire) silent() bool { return w.limit.N == maxHeader }

// exchange sends a request and reads the header of its answer. Afterwards w belongs to
// the answer's body, or to the next request, or is closed. The end of the context
// interrupts it. When exchange returns nobody reads the request's body any more.
func (w *wire) exchange(req *http.Request) (*http.Response, error) {
	w.stop = context.AfterFunc(req.Context(), w.interrupt)
	w.limit.N = maxHeader
	bad := req.Write(w.out)
	sent := w.out.Flush()
	if sent == nil && bad != nil { // the body's own error: the server waits for the rest
		w.release(false)
		return nil, bad
	}
	resp, err := w.answer(req) // also of a server that did not read all of the request
	if err != nil {
		w.release(false)
		return nil, cmp.Or(sent, err)
	}
	w.limit.N = math.MaxInt64
	keep := sent == nil && !resp.Close && !req.Close
	if resp.Body == http.NoBody {
		w.release(keep)
	} else {
		resp.Body = &body{ReadCloser: resp.Body, wire: w, keep: keep}
	}
	return resp, nil
}

// answer reads the header of the answer, past those that only say that one will come.
func (w *wire) answer(req *http.Request) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(w.in, req)
		switch {
		case err != nil && w.limit.N <= 0:
			return nil, fmt.Errorf("the header of the answer has more than %d bytes", maxHeader)
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the server switched to another protocol unasked")
		case resp.StatusCode >= 200:
			return resp, nil
		}
	}
}

// release keeps the connection for other requests, or closes it. What its context
// has interrupted is closed.
func (w *wire) release(keep bool) {
	if w.stop() && keep && w.in.Buffered() == 0 {
		w.owner.keep(w)
		return
	}
	_ = w.conn.Close()
}

// body is that of an answer, at whose end its connection is free.
type body struct {
	io.ReadCloser
	wire *wire
	keep bool
	once sync.Once
}

// Read reads the body.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.once.Do(func() { b.wire.release(b.keep && err == io.EOF) })
	}
	return n, err
}

// Close closes the connection, unless the body was read to its end.
func (b *body) Close() error {
	b.once.Do(func() { b.wire.release(false) })
	return nil
}
