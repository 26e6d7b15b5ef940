package http

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

// reference reads the target's own id from its answer. The target holds the change
// already, so an answer that has none must not make the push fail.
func (c *Connector) reference(d *connector.Delivery, resp *httpclient.Response) string {
	if c.config.Reference.IsZero() || d.Op == connector.Delete {
		return ""
	}
	text, trouble := c.readReference(d, resp.Body)
	if trouble != "" {
		c.mute.Do(func() {
			c.logger.Warn("the target's answer has no reference; later ones are not logged",
				"delivery", d.ID, "trouble", trouble)
		})
	}
	return text
}

// readReference returns what kept it from reading one in words of its own: an error
// would quote the answer, which is not for the log.
func (c *Connector) readReference(d *connector.Delivery, body []byte) (text, trouble string) {
	response, err := readJSON(body)
	if err != nil {
		return "", "the answer is not JSON"
	}
	value, err := c.config.Reference.Eval(connector.Scope{
		Event: d.Event, Locals: map[string]any{"response": response},
	})
	if err != nil {
		return "", "the expression fails on the answer"
	}
	if text, err = event.Text(value); err != nil {
		return "", "the expression gives null, a list or a map"
	}
	return text, ""
}

// readJSON reads an answer into values as package event defines them.
func readJSON(body []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var response any
	if err := decoder.Decode(&response); err != nil {
		return nil, fmt.Errorf("read response: %w", err)
	}
	return eventValue(response), nil
}

// eventValue turns what package json read into values as package event defines
// them. Integers stay integers: an id may have more digits than a float can hold.
func eventValue(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	case []any:
		for i := range v {
			v[i] = eventValue(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = eventValue(v[name])
		}
	}
	return v
}
