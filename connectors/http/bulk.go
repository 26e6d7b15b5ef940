package http

import (
	"context"
	"fmt"
	nethttp "net/http"
	"slices"
	"sync"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

// deletesAtATime bounds the calls for the tombstones of one batch.
const deletesAtATime = 8

// Bulk is the call that carries a batch, by POST unless its method is given. Its
// items are what Map makes. They need to name their key and version themselves: a
// batch has no Idempotency-Key, so the target must put each item under its key.
type Bulk struct {
	Call `yaml:",inline"`
	// Format is how items follow each other: in a JSON array, or one per line.
	Format string `yaml:"format" default:"array" oneof:"array ndjson"`
	// In puts the array into an object, under this name.
	In string `yaml:"in"`
	// Results is the list of what became of the items, in their order, read from the
	// answer: response.items, or response if it is the list. Without it the answer's
	// status holds for all of them; a permanent failure then halves the batch until the
	// item at fault stands alone.
	Results *connector.Expr `yaml:"results" vars:"response"`
	// Status is the HTTP status of one item, read from its result: result.status, or
	// result.ok ? 200 : 422.
	Status *connector.Expr `yaml:"status" vars:"result"`
}

func (b *Bulk) mistakes() []connector.Mistake {
	var ms []connector.Mistake
	if !b.URL.IsZero() && !b.URL.Constant() {
		ms = append(ms, connector.Mistake{Path: "bulk.url", Message: "a batch is of many policies: its URL has no expressions"})
	}
	if b.Results.IsZero() != b.Status.IsZero() {
		ms = append(ms, connector.Mistake{Path: "bulk", Message: "results and status go together"})
	}
	if b.In != "" && b.Format == "ndjson" {
		ms = append(ms, connector.Mistake{Path: "bulk.in", Message: "lines stand in no object: leave it out, or format: ndjson"})
	}
	return ms
}

// Batches tells that only bulk takes batches.
func (c *Config) Batches() (size int, linger time.Duration) {
	if c.Bulk == nil {
		return 1, 0
	}
	return 100, 10 * time.Millisecond
}

// bulk is a [connector.BatchConnector].
type bulk struct {
	*Connector
	calls  []call         // the one of each batch
	header nethttp.Header // of each batch
	// open, between and end stand around the items.
	open, between, end string
}

func newBulk(c *Connector) (*bulk, error) {
	e := c.upsert[0]
	b := &bulk{Connector: c, calls: []call{{endpoint: e, url: e.constant}}, open: "[", between: ",", end: "]"}
	if c.config.Bulk.Format == "ndjson" {
		b.open, b.between, b.end = "", "\n", "\n"
	}
	if in := c.config.Bulk.In; in != "" {
		name, err := event.JSONText(in)
		if err != nil {
			return nil, err
		}
		b.open, b.end = "{"+name+":[", "]}"
	}
	var err error
	b.header, err = b.makeHeader()
	return b, err
}

// Prepare renders the item, or the call of a delete.
func (b *bulk) Prepare(d *connector.Delivery) error {
	if d.Op == connector.Delete {
		return b.Connector.Prepare(d)
	}
	body, err := b.body(d, connector.Scope{Event: d.Event})
	if err != nil {
		return err
	}
	d.Document = &document{calls: b.calls, header: b.header, body: body}
	return nil
}

func (b *bulk) makeHeader() (nethttp.Header, error) {
	header := nethttp.Header{}
	header.Set("User-Agent", "policysync")
	header.Set("Accept", "application/json")
	header.Set("Content-Type", "application/json")
	if b.config.Bulk.Format == "ndjson" {
		header.Set("Content-Type", "application/x-ndjson")
	}
	for _, h := range b.config.Headers {
		value, err := h.Value.Render(connector.Scope{}, nil)
		if err != nil {
			return nil, err
		}
		header.Set(h.Name, value)
	}
	return header, nil
}

// Push is a batch of one.
func (b *bulk) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	r := b.PushBatch(ctx, []*connector.Delivery{d})[0]
	return r.Receipt, r.Err
}

// PushBatch sends the upserts by one call, and beside it each delete by its own. If
// the call as a whole was refused for good, so are the deletes: they come again when
// the batch is split, and find done what they ask for.
func (b *bulk) PushBatch(ctx context.Context, ds []*connector.Delivery) []connector.Result {
	results := make([]connector.Result, len(ds))
	var upserts []*connector.Delivery
	var places []int
	var deletes sync.WaitGroup
	defer deletes.Wait() // also if send panics: a key may come again once this has returned
	turns := make(chan struct{}, deletesAtATime)
	for i, d := range ds {
		if d.Op == connector.Upsert {
			upserts, places = append(upserts, d), append(places, i)
			continue
		}
		deletes.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			defer connector.Recovered(&results[i].Err)
			results[i].Receipt, results[i].Err = b.Connector.Push(ctx, d)
		})
	}
	sent, err := b.send(ctx, upserts)
	deletes.Wait()
	switch {
	case err != nil && connector.Classify(err) == connector.Permanent:
		return connector.FailAll(len(ds), err)
	case err != nil:
		sent = slices.Repeat([]connector.Result{{Err: err}}, len(upserts))
	}
	for i, place := range places {
		results[place] = sent[i]
	}
	return results
}

// send makes the call for some upserts. An error is one of all of them.
func (b *bulk) send(ctx context.Context, ds []*connector.Delivery) ([]connector.Result, error) {
	if len(ds) == 0 {
		return nil, nil
	}
	items := make([][]byte, len(ds))
	size := len(b.open) + len(b.end)
	for i, d := range ds {
		item, ok := d.Document.(*document)
		if !ok {
			return nil, fmt.Errorf("push %q: the delivery was not prepared", d.ID)
		}
		items[i] = item.body
		size += len(item.body) + len(b.between)
	}
	doc := &document{header: b.header, body: append(make([]byte, 0, size), b.open...)}
	for i, item := range items {
		if i > 0 {
			doc.body = append(doc.body, b.between...)
		}
		doc.body = append(doc.body, item...)
	}
	doc.body = append(doc.body, b.end...)
	if err := b.checkSize(doc.body); err != nil {
		return nil, connector.AsPermanent(fmt.Errorf("batch of %d: %w", len(ds), err))
	}
	resp, err := b.calls[0].send(ctx, doc)
	switch {
	case err != nil:
		return nil, err
	case len(ds) == 1 && b.config.Bulk.Results.IsZero():
		receipt, err := b.judge(ds[0], put, resp) // as if it had been sent alone
		return []connector.Result{{Receipt: receipt}}, err
	case b.config.Permanent.Contains(resp.Status):
		return nil, connector.AsPermanent(resp.Err())
	case !b.config.Success.Contains(resp.Status):
		return nil, resp.Err()
	case b.config.Bulk.Results.IsZero():
		return make([]connector.Result, len(ds)), nil
	}
	return b.readResults(ds, resp)
}

// readResults tells from the answer what became of each item. An answer that does
// not say leaves all of them unknown: they are sent again, which is harmless.
func (b *bulk) readResults(ds []*connector.Delivery, resp *httpclient.Response) ([]connector.Result, error) {
	response, err := readJSON(resp.Body)
	if err != nil {
		return nil, err
	}
	list, err := b.config.Bulk.Results.Eval(connector.Scope{Event: ds[0].Event, Locals: map[string]any{"response": response}})
	if err != nil {
		return nil, fmt.Errorf("read response: %w", err)
	}
	items, ok := list.([]any)
	if !ok || len(items) != len(ds) {
		return nil, fmt.Errorf("read response: %d results for %d items", len(items), len(ds))
	}
	results := make([]connector.Result, len(ds))
	for i, d := range ds {
		item, err := b.item(d, resp, i, items[i])
		if err != nil {
			return nil, fmt.Errorf("read response: item %d: %w", i, err)
		}
		results[i].Receipt, results[i].Err = b.judge(d, put, item)
	}
	return results, nil
}

func (b *bulk) item(d *connector.Delivery, resp *httpclient.Response, n int, result any) (*httpclient.Response, error) {
	status, err := b.config.Bulk.Status.Eval(connector.Scope{Event: d.Event, Locals: map[string]any{"result": result}})
	if err != nil {
		return nil, err
	}
	code, ok := status.(int64)
	if !ok || code < 100 || code > 599 {
		return nil, fmt.Errorf("%s is %v, want a status of HTTP", b.config.Bulk.Status.Source, status)
	}
	body, err := event.JSON(result)
	if err != nil {
		return nil, err
	}
	return resp.Item(n, int(code), body), nil
}
