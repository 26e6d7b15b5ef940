package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	nethttp "net/http"
	"slices"
	"strconv"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// Read is how to read back what the target holds under a key, by GET; 404 and 410
// mean that it holds nothing.
type Read struct {
	// URL sees no event, only the key: what was deleted is asked for, too.
	URL *connector.Text `yaml:"url" required:"true"`
	// Document is the part of the answer to compare with what would be sent, such as
	// response.rule; the whole of it unless given. What the map does not make is left
	// out.
	Document *connector.Expr `yaml:"document" vars:"response"`
	// Version is the version in the answer, such as response.version. Without it an
	// older document is one that differs.
	Version *connector.Expr `yaml:"version" vars:"response"`
}

// Compare implements [connector.Comparer] by a GET for each key. A name is its URL.
func (c *Connector) Compare(ctx context.Context, ds []*connector.Delivery) ([]connector.Comparison, error) {
	if c.read == nil {
		return nil, fmt.Errorf("%w: the config does not say how to read it", connector.ErrNotComparable)
	}
	return connector.CompareEach(ctx, ds, c.compare)
}

// Names implements [connector.Comparer]: an API has no list that all have.
func (c *Connector) Names(context.Context, func(name string) error) error {
	if c.read == nil {
		return fmt.Errorf("%w: the config does not say how to read it", connector.ErrNotComparable)
	}
	return nil
}

func (c *Connector) compare(ctx context.Context, d *connector.Delivery) (found connector.Comparison, err error) {
	doc, ok := d.Document.(*document)
	if !ok {
		return found, errors.New("the delivery was not prepared")
	}
	at, err := render(c.read.url, connector.Scope{Event: d.Event})
	if err != nil {
		return found, err
	}
	found.Names = []string{at.String()}
	resp, err := call{endpoint: c.read, url: at}.send(ctx, &document{header: nethttp.Header{"User-Agent": userAgent, "Accept": applicationJSON}})
	switch {
	case err != nil:
		return found, err
	case resp.Status == nethttp.StatusNotFound || resp.Status == nethttp.StatusGone:
		if d.Op == connector.Upsert {
			found.Difference = connector.Missing
		}
		return found, nil
	case resp.Status != nethttp.StatusOK:
		return found, resp.Err()
	case d.Op == connector.Delete:
		found.Difference = connector.Extra
		return found, nil
	case resp.Truncated:
		return found, fmt.Errorf("GET %s: the answer has more than %d bytes", at, len(resp.Body))
	}
	have, err := readJSON(resp.Body)
	if err != nil {
		return found, err
	}
	scope := connector.Scope{Event: d.Event, Locals: map[string]any{"response": have}}
	place, err := c.place(scope, d)
	if err != nil || place != "" {
		found.Difference = place
		return found, err
	}
	if !c.config.Read.Document.IsZero() {
		if have, err = c.config.Read.Document.Eval(scope); err != nil {
			return found, err
		}
	}
	want, err := readJSON(doc.body)
	if err != nil {
		return found, err
	}
	if found.Fields = differences("", want, have); found.Fields != nil {
		found.Difference = connector.Different
	}
	return found, nil
}

// place tells whether the target has an older version, or a newer one.
func (c *Connector) place(scope connector.Scope, d *connector.Delivery) (connector.Difference, error) {
	if c.config.Read.Version.IsZero() || !d.Version.Known {
		return "", nil
	}
	value, err := c.config.Read.Version.Eval(scope)
	if err != nil {
		return "", err
	}
	held, ok := value.(int64)
	if !ok {
		return "", fmt.Errorf("%s: %T is no version: want a whole number", c.config.Read.Version.Place.Path, value)
	}
	switch {
	case held < d.Version.Value:
		return connector.Stale, nil
	case held > d.Version.Value:
		return connector.Newer, nil
	}
	return "", nil
}

// differences are the fields of want that have has not, or has otherwise. A field that
// is null may be missing.
func differences(path string, want, have any) []connector.FieldDifference {
	switch w := want.(type) {
	case map[string]any:
		h := fieldsOf(have)
		if h == nil {
			break
		}
		var all []connector.FieldDifference
		for _, name := range slices.Sorted(maps.Keys(w)) {
			below := name
			if path != "" {
				below = path + "." + name
			}
			all = append(all, differences(below, w[name], h[name])...)
		}
		return all
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			break
		}
		var all []connector.FieldDifference
		for i := range w {
			all = append(all, differences(path+"["+strconv.Itoa(i)+"]", w[i], h[i])...)
		}
		return all
	default:
		if number(want) == number(have) {
			return nil
		}
	}
	return []connector.FieldDifference{{Field: path, Want: shown(want), Have: shown(have)}}
}

// fieldsOf are those of a JSON object, nil if v is none.
func fieldsOf(v any) map[string]any {
	switch v := v.(type) {
	case map[string]any:
		return v
	case *event.Object:
		fields := map[string]any{}
		for i, name := range v.Names {
			fields[name] = v.Values[i]
		}
		return fields
	}
	return nil
}

// number makes numbers one that are; what can't be compared is nothing's equal.
func number(v any) any {
	switch v := v.(type) {
	case float64:
		if n := int64(v); float64(n) == v {
			return n
		}
	case []any, map[string]any, *event.Object:
		return new(int)
	}
	return v
}

// shown is text as it is, all else as JSON.
func shown(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
