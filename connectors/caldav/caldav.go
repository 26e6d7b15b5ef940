// Package caldav is the connector that keeps policies as events of a calendar
// (CalDAV, RFC 4791), one event per key. It owns the form of the event, where it
// lies, and the guard: an event tells which version it holds, and is read before it
// is written, by a condition on its ETag, so that an older version never replaces a
// newer one. How a request is sent, and the class of a status, belong to package
// httpclient.
package caldav

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

// namespace is that of the UIDs, which are made of keys (RFC 9562, version 5): an
// event can be found without a list of all.
var namespace = uuid.MustParse("5a0f2d38-6a0e-4f0a-9b55-0d6f4a5f3c11")

// Connector writes to one calendar. It is a [connector.Preparer], a
// [connector.Checker], a [connector.Inspector] and a [connector.Comparer].
type Connector struct {
	config *Config
	client *httpclient.Client
}

// document is what Push sends: the event, nil in a delete, and where it lies.
type document struct {
	url  string
	text []byte
}

// MarshalJSON prints the document for people.
func (d *document) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		URL      string   `json:"url"`
		Calendar []string `json:"calendar,omitempty"`
	}{d.url, strings.Split(strings.TrimSpace(string(d.text)), "\r\n")})
}

// Kind returns the kind of this connector.
func Kind() connector.Kind { return connector.KindOf(New) }

// New makes the connector. It connects to nothing.
func New(_ context.Context, cfg *Config, env connector.Env) (connector.Connector, error) {
	client, err := httpclient.New(cfg.Config, httpclient.Options{Concurrency: env.Concurrency})
	if err != nil {
		return nil, err
	}
	return &Connector{config: cfg, client: client}, nil
}

func uidOf(key string) string { return uuid.NewSHA1(namespace, []byte(key)).String() }

func (c *Connector) urlOf(key string) string {
	return strings.TrimSuffix(c.config.URL, "/") + "/" + uidOf(key) + ".ics"
}

// Prepare makes the event.
func (c *Connector) Prepare(d *connector.Delivery) error {
	doc := &document{url: c.urlOf(d.Key)}
	if d.Op == connector.Upsert {
		value, err := c.config.Map.Eval(connector.Scope{Event: d.Event})
		if err != nil {
			return err
		}
		if doc.text, err = calendarOf(d, value, uidOf(d.Key)); err != nil {
			return fmt.Errorf("write event: %w", err)
		}
	}
	d.Document = doc
	return nil
}

// Push reads the event that the calendar has and, unless that is newer, replaces or
// deletes it.
func (c *Connector) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	doc, ok := d.Document.(*document)
	if !ok {
		return connector.Receipt{}, fmt.Errorf("push %q: the delivery was not prepared", d.ID)
	}
	held, err := c.get(ctx, doc.url)
	switch {
	case err != nil:
		return connector.Receipt{}, err
	case held != nil && held.newerThan(d):
		return connector.Receipt{Stale: true}, nil
	case d.Op == connector.Delete && held == nil:
		return connector.Receipt{}, nil
	}
	method := http.MethodPut
	if d.Op == connector.Delete {
		method = http.MethodDelete
	}
	resp, err := c.call(ctx, method, doc.url, doc.text, condition(held))
	if err != nil {
		return connector.Receipt{}, err
	}
	switch status := resp.Status; {
	case status >= 200 && status < 300,
		d.Op == connector.Delete && (status == http.StatusNotFound || status == http.StatusGone):
		return connector.Receipt{Reference: uidOf(d.Key)}, nil
	case status == http.StatusPreconditionFailed:
		// Another wrote it since it was read: the next attempt reads it anew.
		return connector.Receipt{}, connector.AsTransient(resp.Err())
	case (status == http.StatusForbidden || status == http.StatusConflict) && refusesEvent(resp.Body):
		return connector.Receipt{}, connector.AsPermanent(resp.Err())
	case status == http.StatusNotFound || status == http.StatusConflict || status == http.StatusMethodNotAllowed:
		// The calendar itself is not there, which is no fault of this change.
		return connector.Receipt{}, connector.AsUnavailable(resp.Err())
	}
	return connector.Receipt{}, resp.Err()
}

// condition lets a write through only if nobody wrote since the read. An ETag that
// is weak or missing can't be a condition (RFC 9110, section 13.1.1): then the write
// goes unguarded.
func condition(held *held) http.Header {
	switch {
	case held == nil:
		return http.Header{"If-None-Match": {"*"}}
	case strings.HasPrefix(held.etag, `"`):
		return http.Header{"If-Match": {held.etag}}
	}
	return nil
}

// refusesEvent reports whether the answer to a PUT names a rule of calendars that
// the event breaks (RFC 4791, section 5.3.2.1), rather than our rights.
func refusesEvent(body []byte) bool {
	var e struct {
		XMLName xml.Name `xml:"DAV: error"`
		Rule    []struct {
			XMLName xml.Name `xml:""`
		} `xml:",any"`
	}
	return xml.Unmarshal(body, &e) == nil && len(e.Rule) > 0 && e.Rule[0].XMLName.Space == "urn:ietf:params:xml:ns:caldav"
}

func (c *Connector) call(ctx context.Context, method, url string, body []byte, header http.Header) (*httpclient.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, connector.AsUnavailable(fmt.Errorf("make request: %w", err))
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("User-Agent", "policysync")
	switch {
	case body == nil:
		req.Body, req.GetBody = nil, nil
	case method == http.MethodPut:
		req.Header.Set("Content-Type", "text/calendar; charset=utf-8")
	default:
		req.Header.Set("Content-Type", "application/xml; charset=utf-8")
	}
	return c.client.Do(req)
}

// get reads an event; nil if the calendar has none.
func (c *Connector) get(ctx context.Context, url string) (*held, error) {
	resp, err := c.call(ctx, http.MethodGet, url, nil, nil)
	if err != nil {
		return nil, err
	}
	switch resp.Status {
	case http.StatusOK:
		return readHeld(resp.Body, resp.Header.Get("ETag")), nil
	case http.StatusNotFound, http.StatusGone:
		return nil, nil
	}
	return nil, resp.Err()
}

// Check asks whether the calendar is there and lets us in.
func (c *Connector) Check(ctx context.Context) error {
	const ask = `<?xml version="1.0"?><propfind xmlns="DAV:"><prop><resourcetype/></prop></propfind>`
	resp, err := c.call(ctx, "PROPFIND", c.config.URL, []byte(ask), http.Header{"Depth": {"0"}})
	if err != nil {
		return err
	}
	if resp.Status != http.StatusMultiStatus {
		return resp.Err()
	}
	var answer struct {
		Calendar *struct{} `xml:"response>propstat>prop>resourcetype>calendar"`
	}
	if err := xml.Unmarshal(resp.Body, &answer); err != nil || answer.Calendar == nil {
		return fmt.Errorf("check %s: it is no calendar", c.config.URL)
	}
	return nil
}

// Inspect reads back the versions of the given keys.
func (c *Connector) Inspect(ctx context.Context, keys []string) ([]connector.Held, error) {
	var all []connector.Held
	for _, key := range keys {
		held, err := c.get(ctx, c.urlOf(key))
		if err != nil {
			return nil, err
		}
		if held != nil {
			all = append(all, connector.Held{Key: key, Version: held.version})
		}
	}
	return all, nil
}

// Close ends the calls in flight.
func (c *Connector) Close(context.Context) error {
	c.client.Close()
	return nil
}

// held is what the calendar has under a key: what can be read of it.
type held struct {
	etag string
	text []byte
	// version is the event's own if known, else the offset.
	version  int64
	known    bool
	position position
}

// position is where a change came from: offsets compare only within one topic id
// and partition.
type position struct{ partition, offset string }

func positionOf(d *connector.Delivery) position {
	p := d.Event.Position
	return position{fmt.Sprintf("%s/%d", p.TopicID, p.Partition), strconv.FormatInt(p.Offset, 10)}
}

func (p position) String() string { return p.partition + "/" + p.offset }

// after reports whether p is known to be behind q.
func (p position) after(q position) bool {
	a, err1 := strconv.ParseInt(p.offset, 10, 64)
	b, err2 := strconv.ParseInt(q.offset, 10, 64)
	return err1 == nil && err2 == nil && p.partition == q.partition && a > b
}

// unfold joins the lines that the form of an event has broken.
var unfold = strings.NewReplacer("\r\n ", "", "\r\n\t", "", "\n ", "", "\n\t", "")

// readHeld reads which change an event holds: none that we know, if it is not ours.
// It looks for our own properties alone, since what a server answers may be anything.
func readHeld(text []byte, etag string) *held {
	h := &held{etag: etag, text: text}
	for line := range strings.Lines(unfold.Replace(string(text))) {
		property, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		name, _, _ := strings.Cut(property, ";")
		switch strings.ToUpper(name) {
		case propVersion:
			var err error
			h.version, err = strconv.ParseInt(value, 10, 64)
			h.known = err == nil
		case propPosition:
			if i := strings.LastIndexByte(value, '/'); i > 0 {
				h.position = position{value[:i], value[i+1:]}
			}
		}
	}
	if !h.known {
		h.version, _ = strconv.ParseInt(h.position.offset, 10, 64)
	}
	return h
}

// newerThan reports whether the calendar has a newer change than d. The same
// version is written again, so that a mended mapping takes effect.
func (h *held) newerThan(d *connector.Delivery) bool {
	if h.known && d.Version.Known && !d.Version.ByOffset {
		return h.version > d.Version.Value
	}
	return h.position.after(positionOf(d))
}
