package httpclient

import (
	"context"
	"net"
)

// dial connects by d, and ties the connection to the client.
func (c *Client) dial(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if c.closing.Err() != nil { // a request that would be sent once more
			return nil, errClosed
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(c.closing, cancel)()
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &tied{conn, context.AfterFunc(c.closing, func() { _ = conn.Close() })}, nil
	}
}

// tied is a connection that ends with its client.
type tied struct {
	net.Conn
	untie func() bool
}

// Close closes the connection.
func (t *tied) Close() error {
	t.untie()
	return t.Conn.Close()
}
