// Package http is the connector for HTTP APIs: one call per delivery, or per batch,
// described by the config. It owns the form of that call and the meaning of its answer; how
// a request is sent, and the class of a status, belong to package httpclient.
//
// Beside the headers of the config each request carries
//
//	Idempotency-Key     the delivery's id, the same for each attempt and restart
//	Policysync-Key      the policy key, percent-encoded
//	Policysync-Version  the version of the change; absent if it has none
//	Traceparent         W3C trace context
//
// The target is asked to answer a known Idempotency-Key as it did before, and to
// refuse with 412 a version older than what it holds: that settles as stale. Go's
// HTTP client sends a request once more, under the same key, if a kept connection
// turns out to be closed before any answer.
package http

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	nethttp "net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

// Kind returns the kind of this connector.
func Kind() connector.Kind { return connector.KindOf(New) }

// Connector calls an HTTP API. It is a [connector.Preparer], a [connector.Checker]
// and a [connector.Comparer].
type Connector struct {
	config *Config
	logger *slog.Logger
	// trusted calls the hosts that the config names, public those that an
	// expression does.
	trusted, public *httpclient.Client
	// upsert holds the calls of an upsert in the order in which they are tried,
	// delete that of a tombstone or none.
	upsert, delete []*endpoint
	// read is the call for what the target holds, nil if the config has none.
	read *endpoint
	// mute keeps an answer without a reference from being logged at each push.
	mute sync.Once
}

// endpoint is one call of the config.
type endpoint struct {
	op     operation
	method string
	url    *connector.Text
	// constant is the URL if it has no expressions, nil otherwise.
	constant *url.URL
	client   *httpclient.Client
}

// operation is what a call means, which decides what its answer means.
type operation int

const (
	put operation = iota // whether or not the target holds the key
	create
	update
	remove
)

// New makes the connector. It connects to nothing; its error is a file of the
// config that cannot be used, or a delete that cannot work.
func New(_ context.Context, cfg *Config, env connector.Env) (connector.Connector, error) {
	if !cfg.Delete.Ignore && cfg.Delete.URL.UsesEvent() {
		return nil, fmt.Errorf("read delete.url %q: it uses the event, and a deleted key has none", cfg.Delete.URL.Source)
	}
	if cfg.Read != nil && cfg.Read.URL.UsesEvent() {
		return nil, fmt.Errorf("read read.url %q: it uses the event, and a deleted key has none", cfg.Read.URL.Source)
	}
	c := &Connector{config: cfg, logger: env.Logger}
	var err error
	o := httpclient.Options{Concurrency: env.Concurrency}
	if c.trusted, err = httpclient.New(cfg.Config, o); err != nil {
		return nil, err
	}
	o.PublicOnly = true
	if c.public, err = httpclient.New(cfg.Config, o); err != nil {
		return nil, err
	}
	if cfg.URL != nil {
		c.upsert = append(c.upsert, c.endpoint(put, &Call{Method: cfg.Method, URL: cfg.URL}))
	}
	if cfg.Update != nil {
		c.upsert = append(c.upsert, c.endpoint(update, cfg.Update))
	}
	if cfg.Create != nil {
		c.upsert = append(c.upsert, c.endpoint(create, cfg.Create))
	}
	if !cfg.Delete.Ignore {
		c.delete = append(c.delete, c.endpoint(remove, &cfg.Delete.Call))
	}
	if cfg.Read != nil {
		c.read = c.endpoint(put, &Call{Method: nethttp.MethodGet, URL: cfg.Read.URL})
	}
	if cfg.Bulk != nil {
		c.upsert = append(c.upsert, c.endpoint(put, &cfg.Bulk.Call))
	}
	for _, e := range slices.Concat(c.upsert, c.delete) {
		if e.url.Constant() {
			if e.constant, err = render(e.url, connector.Scope{}); err != nil {
				return nil, err
			}
		}
	}
	if cfg.Bulk != nil {
		return newBulk(c)
	}
	return c, nil
}

func (c *Connector) endpoint(op operation, call *Call) *endpoint {
	e := &endpoint{op: op, method: call.Method, url: call.URL, client: c.public}
	if _, fixed := fixedOrigin(call.URL); fixed {
		e.client = c.trusted
	}
	return e
}

// Push makes the call, and the second one if the first finds nothing.
func (c *Connector) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	doc, ok := d.Document.(*document)
	if !ok {
		return connector.Receipt{}, fmt.Errorf("push %q: the delivery was not prepared", d.ID)
	}
	for i, call := range doc.calls {
		resp, err := call.send(ctx, doc)
		if err != nil {
			return connector.Receipt{}, err
		}
		if resp.Status == nethttp.StatusNotFound && i+1 < len(doc.calls) {
			continue
		}
		return c.judge(d, call.op, resp)
	}
	return connector.Receipt{}, nil
}

func (c call) send(ctx context.Context, doc *document) (*httpclient.Response, error) {
	var body io.Reader
	if doc.body != nil {
		body = bytes.NewReader(doc.body)
	}
	req, err := nethttp.NewRequestWithContext(ctx, c.method, "", body)
	if err != nil {
		return nil, connector.AsPermanent(fmt.Errorf("make request: %w", err))
	}
	req.URL, req.Host, req.Header = c.url, c.url.Host, doc.header
	return c.client.Do(req)
}

// judge reads the answer. What the config says of a status comes first, then what
// the status means to this operation, then what it means to anyone.
func (c *Connector) judge(d *connector.Delivery, op operation, resp *httpclient.Response) (connector.Receipt, error) {
	switch status := resp.Status; {
	case c.config.Success.Contains(status):
		return connector.Receipt{Reference: c.reference(d, resp)}, nil
	case c.config.Permanent.Contains(status):
		return connector.Receipt{}, connector.AsPermanent(resp.Err())
	case status == nethttp.StatusPreconditionFailed:
		return connector.Receipt{Stale: true}, nil
	case op == remove && (status == nethttp.StatusNotFound || status == nethttp.StatusGone):
		return connector.Receipt{}, nil
	case op == create && status == nethttp.StatusConflict && c.config.Update != nil:
		// It was not there to update, and is there now: the next attempt updates it.
		return connector.Receipt{}, connector.AsTransient(resp.Err())
	case op == create && status == nethttp.StatusConflict && c.config.Conflict == conflictDone:
		// An earlier attempt has created it, of this process or of one before.
		return connector.Receipt{}, nil
	}
	return connector.Receipt{}, resp.Err()
}

// Check asks each host that the config names for something harmless. Only a URL
// without expressions can tell whether we are let in.
func (c *Connector) Check(ctx context.Context) error {
	for _, e := range slices.Concat(c.upsert, c.delete) {
		origin, fixed := fixedOrigin(e.url)
		if !fixed {
			continue
		}
		at := origin + "/"
		if e.constant != nil {
			at = e.constant.String()
		}
		req, err := nethttp.NewRequestWithContext(ctx, nethttp.MethodHead, at, nil)
		if err != nil {
			return fmt.Errorf("make request: %w", err)
		}
		resp, err := e.client.Do(req)
		if err != nil {
			return err
		}
		switch resp.Status {
		case nethttp.StatusBadGateway, nethttp.StatusServiceUnavailable, nethttp.StatusGatewayTimeout:
			return resp.Err()
		case nethttp.StatusUnauthorized, nethttp.StatusForbidden:
			if e.constant != nil {
				return resp.Err()
			}
		}
	}
	return nil
}

// Close ends the calls in flight and closes the connections.
func (c *Connector) Close(context.Context) error {
	c.trusted.Close()
	c.public.Close()
	return nil
}
