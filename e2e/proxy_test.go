//go:build e2e

package e2e

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy is a network between a member and a server, that can be cut and healed.
type proxy struct {
	address string
	to      string

	mu    sync.Mutex
	state link
	// healed is closed when a stall ends.
	healed chan struct{}
	conns  map[net.Conn]bool
}

// link is what a network does with what it is given.
type link int

const (
	whole   link = iota
	cut          // connections are reset, and no new one comes about
	stalled      // nothing arrives and nobody is told
)

func newProxy(t *testing.T, listen, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	require.NoError(t, err)
	p := &proxy{address: l.Addr().String(), to: to, conns: map[net.Conn]bool{}, healed: make(chan struct{})}
	close(p.healed)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepting.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.set(cut)
		accepting.Wait()
	})
	return p
}

// set changes the network, for connections that stand and for new ones.
func (p *proxy) set(state link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == stalled {
		close(p.healed)
	}
	if p.state = state; state == stalled {
		p.healed = make(chan struct{})
	}
	if state == cut {
		for c := range p.conns {
			c.Close()
		}
	}
}

// track reports whether a connection may stand.
func (p *proxy) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == cut {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

func (p *proxy) serve(client net.Conn) {
	defer p.drop(client)
	if !p.track(client) {
		return
	}
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer p.drop(server)
	if !p.track(server) {
		return
	}
	var copying sync.WaitGroup
	copying.Go(func() { p.copy(server, client) })
	p.copy(client, server)
	copying.Wait()
}

// copy passes bytes on, while the network is not stalled, until one side ends.
func (p *proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		healed := p.healed
		p.mu.Unlock()
		<-healed
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}
