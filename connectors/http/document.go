package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	nethttp "net/http"
	"net/url"
	"strconv"

	"golang.org/x/net/http/httpguts"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// document is what Push sends: the first call, or the second if the first finds
// nothing to update. A delete that is ignored has no calls.
type document struct {
	calls  []call
	header nethttp.Header
	body   []byte // JSON; nil in a delete
}

type call struct {
	*endpoint
	url *url.URL // which others may share
}

// MarshalJSON prints the document for people, without the credentials, which are
// added when it is sent.
func (d *document) MarshalJSON() ([]byte, error) {
	if len(d.calls) == 0 {
		return []byte("null"), nil
	}
	type target struct {
		Method string `json:"method"`
		URL    string `json:"url"`
	}
	view := struct {
		target
		IfNotFound *target           `json:"if_not_found,omitempty"`
		Headers    map[string]string `json:"headers"`
		Body       json.RawMessage   `json:"body,omitempty"`
	}{target: target{d.calls[0].method, d.calls[0].url.String()}, Headers: map[string]string{}, Body: d.body}
	if len(d.calls) > 1 {
		view.IfNotFound = &target{d.calls[1].method, d.calls[1].url.String()}
	}
	for name := range d.header {
		view.Headers[name] = d.header.Get(name)
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // a & in a URL stays one
	err := e.Encode(view)
	return bytes.TrimSpace(text.Bytes()), err
}

// Prepare renders the URLs, the headers and the body.
func (c *Connector) Prepare(d *connector.Delivery) error {
	scope := connector.Scope{Event: d.Event}
	doc := &document{header: make(nethttp.Header, 8)}
	endpoints := c.upsert
	if d.Op == connector.Delete {
		endpoints = c.delete
	}
	for _, e := range endpoints {
		at := e.constant
		if at == nil {
			var err error
			if at, err = render(e.url, scope); err != nil {
				return err
			}
		}
		doc.calls = append(doc.calls, call{endpoint: e, url: at})
	}
	if err := c.setHeader(doc.header, d, scope); err != nil {
		return err
	}
	if d.Op == connector.Upsert {
		var err error
		if doc.body, err = c.body(d, scope); err != nil {
			return err
		}
	}
	d.Document = doc
	return nil
}

// Values that all requests share. Nobody changes the value of a header in place.
var (
	userAgent       = []string{"policysync"}
	applicationJSON = []string{"application/json"}
)

func (c *Connector) setHeader(header nethttp.Header, d *connector.Delivery, scope connector.Scope) error {
	header["User-Agent"] = userAgent
	header["Accept"] = applicationJSON
	header.Set("Idempotency-Key", d.ID)
	header.Set("Policysync-Key", url.PathEscape(d.Key))
	if d.Version.Known {
		header.Set("Policysync-Version", strconv.FormatInt(d.Version.Value, 10))
	}
	if d.Op == connector.Upsert {
		header["Content-Type"] = applicationJSON
	}
	for _, h := range c.config.Headers {
		if d.Op == connector.Delete && h.Value.UsesEvent() {
			continue
		}
		value, err := h.Value.Render(scope, oneLine)
		if err != nil {
			return err
		}
		header.Set(h.Name, value)
	}
	return nil
}

// maxHeader is how long a value of the event may be in a header: servers refuse
// requests with more, all alike.
const maxHeader = 8 << 10

func oneLine(_, value string) (string, error) {
	if len(value) > maxHeader {
		return "", fmt.Errorf("the text has %d bytes, more than the %d that fit into a header", len(value), maxHeader)
	}
	if !httpguts.ValidHeaderFieldValue(value) {
		return "", errors.New("the text holds a character that no header can")
	}
	return value, nil
}

func (c *Connector) body(d *connector.Delivery, scope connector.Scope) ([]byte, error) {
	var value any = d.Event.Value
	if !c.config.Map.IsZero() {
		var err error
		if value, err = c.config.Map.Eval(scope); err != nil {
			return nil, err
		}
	}
	body, err := event.JSON(value)
	if err != nil {
		return nil, fmt.Errorf("write body: %w", err)
	}
	if err := c.checkSize(body); err != nil {
		return nil, err
	}
	return body, nil
}

func (c *Connector) checkSize(body []byte) error {
	if limit := int(c.config.MaxBody); limit > 0 && len(body) > limit {
		return fmt.Errorf("the body has %d bytes, more than max_body, %d", len(body), limit)
	}
	return nil
}
