//go:build synctests

package simulation

import (
	"cmp"
	"context"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// link is all that connects one process to the brokers. Each write takes its time; a
// stalled link lets nothing through until it flows again, and one that is cut has no
// connection.
type link struct {
	s    *stage
	net  *kfake.VirtualNetwork
	life int

	// mu guards the rest, between the connections of the process and the stage.
	mu      sync.Mutex
	wires   []*wire
	down    bool
	gone    bool          // with its process: it is never mended
	flowing chan struct{} // closed unless it is stalled
}

func newLink(s *stage, n *kfake.VirtualNetwork, life int) *link {
	l := &link{s: s, net: n, life: life, flowing: make(chan struct{})}
	close(l.flowing)
	return l
}

// dial opens a connection.
func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := l.net.DialContext(ctx, network, address)
	if err != nil {
		return nil, cmp.Or(ctx.Err(), refused(network))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		conn.Close()
		return nil, refused(network)
	}
	w := &wire{Conn: conn, link: l, to: address, id: len(l.wires), closed: make(chan struct{})}
	l.wires = append(l.wires, w)
	return w, nil
}

// refused is the error of the real network, which kgo knows by its type.
func refused(network string) error {
	return &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

// cut closes all connections and has none opened until it is mended.
func (l *link) cut() {
	l.mu.Lock()
	l.down = true
	l.mu.Unlock()
	l.hangUp("")
}

// hangUp closes the connections to an address, all if it is empty.
func (l *link) hangUp(address string) {
	l.mu.Lock()
	wires := slices.Clone(l.wires)
	l.mu.Unlock()
	for _, w := range wires {
		if address == "" || w.to == address {
			w.Close()
		}
	}
}

func (l *link) stall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flowing = make(chan struct{})
}

// end cuts the link for good.
func (l *link) end() {
	l.mu.Lock()
	l.gone = true
	l.mu.Unlock()
	l.cut()
}

// mend ends a cut or a stall.
func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return
	}
	l.down = false
	select {
	case <-l.flowing:
	default:
		close(l.flowing)
	}
}

// wire is one connection.
type wire struct {
	net.Conn

	link   *link
	to     string
	id     int
	writes int // of which there is one at a time
	once   sync.Once
	closed chan struct{}
}

// pass waits until the link lets something through.
func (w *wire) pass() {
	w.link.mu.Lock()
	flowing := w.link.flowing
	w.link.mu.Unlock()
	select {
	case <-flowing:
	case <-w.closed:
	}
}

// Read implements [net.Conn].
func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.pass()
	return n, err
}

// Write implements [net.Conn].
func (w *wire) Write(b []byte) (int, error) {
	w.writes++
	<-time.After(w.link.s.upTo(5*time.Millisecond, forLatency, w.link.life, w.id, w.writes))
	w.pass()
	return w.Conn.Write(b)
}

// Close implements [net.Conn].
func (w *wire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return w.Conn.Close()
}
