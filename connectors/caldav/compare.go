package caldav

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/emersion/go-ical"
	"github.com/google/uuid"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Compare implements [connector.Comparer] by reading each event. A name is that of an
// event's file.
func (c *Connector) Compare(ctx context.Context, ds []*connector.Delivery) ([]connector.Comparison, error) {
	return connector.CompareEach(ctx, ds, c.compare)
}

func (c *Connector) compare(ctx context.Context, d *connector.Delivery) (found connector.Comparison, err error) {
	doc, ok := d.Document.(*document)
	if !ok {
		return found, errors.New("the delivery was not prepared")
	}
	found.Names = []string{path.Base(doc.url)}
	held, err := c.get(ctx, doc.url)
	switch {
	case err != nil:
	case d.Op == connector.Delete && held != nil:
		found.Difference = connector.Extra
	case d.Op == connector.Delete:
	case held == nil:
		found.Difference = connector.Missing
	case held.newerThan(d):
		found.Difference = connector.Newer
	case held.olderThan(d):
		found.Difference = connector.Stale
	default:
		if found.Fields, err = differences(doc.text, held.text); found.Fields != nil {
			found.Difference = connector.Different
		}
	}
	return found, err
}

// olderThan reports whether d is known to be newer than what the calendar has.
func (h *held) olderThan(d *connector.Delivery) bool {
	if h.known && d.Version.Known && !d.Version.ByOffset {
		return h.version < d.Version.Value
	}
	return positionOf(d).after(h.position)
}

// compared are the properties that a map makes.
var compared = []string{
	ical.PropSummary, ical.PropDateTimeStart, ical.PropDateTimeEnd, ical.PropDuration, ical.PropRecurrenceRule,
	ical.PropDescription, ical.PropLocation, ical.PropStatus, ical.PropCategories, ical.PropURL,
}

// differences are those of two events that people would see.
func differences(want, have []byte) ([]connector.FieldDifference, error) {
	wanted, err := propertiesOf(want)
	if err != nil {
		return nil, err
	}
	held, err := propertiesOf(have)
	if err != nil {
		return []connector.FieldDifference{{Want: "an event", Have: err.Error()}}, nil //nolint:nilerr // what is there is no event: a difference
	}
	var all []connector.FieldDifference
	for _, name := range compared {
		if w, h := plain(wanted, name), plain(held, name); w != h {
			all = append(all, connector.FieldDifference{Field: strings.ToLower(name), Want: w, Have: h})
		}
	}
	return all, nil
}

func propertiesOf(text []byte) (ical.Props, error) {
	cal, err := ical.NewDecoder(strings.NewReader(string(text))).Decode()
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	if events := cal.Events(); len(events) > 0 {
		return events[0].Props, nil
	}
	return nil, errors.New("read event: the calendar object has none")
}

// plain is a property as text that is the same for the same meaning, however a server
// writes it. A property that is not there is empty.
func plain(props ical.Props, name string) string {
	p := props.Get(name)
	if p == nil {
		return ""
	}
	switch name {
	case ical.PropDateTimeStart, ical.PropDateTimeEnd:
		if t, err := p.DateTime(nil); err == nil && p.ValueType() == ical.ValueDateTime {
			return t.UTC().Format("2006-01-02T15:04:05Z") + " " + p.Params.Get(ical.ParamTimezoneID)
		}
	case ical.PropCategories:
		if list, err := p.TextList(); err == nil {
			return strings.Join(list, ", ")
		}
	case ical.PropSummary, ical.PropDescription, ical.PropLocation:
		if text, err := p.Text(); err == nil {
			return text
		}
	}
	return p.Value
}

// Names implements [connector.Comparer]. An event that somebody else has made is no
// name: ours are called by a UUID that is made of a key.
func (c *Connector) Names(ctx context.Context, each func(name string) error) error {
	const ask = `<?xml version="1.0"?><propfind xmlns="DAV:"><prop><getetag/></prop></propfind>`
	req, err := http.NewRequestWithContext(ctx, "PROPFIND", c.config.URL, strings.NewReader(ask))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header = http.Header{"Depth": {"1"}, "User-Agent": {"policysync"}, "Content-Type": {"application/xml; charset=utf-8"}}
	resp, err := c.client.HTTP().Do(req) // a list may be longer than an answer that is kept whole
	if err != nil {
		return fmt.Errorf("list events: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMultiStatus {
		return fmt.Errorf("list events: unexpected status %d", resp.StatusCode)
	}
	for d := xml.NewDecoder(resp.Body); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list events: %w", err)
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name != (xml.Name{Space: "DAV:", Local: "href"}) {
			continue
		}
		var href string
		if err := d.DecodeElement(&href, &start); err != nil {
			return fmt.Errorf("list events: %w", err)
		}
		if err := eachOwn(href, each); err != nil {
			return err
		}
	}
}

// eachOwn calls each for the path of an event of ours.
func eachOwn(href string, each func(name string) error) error {
	u, err := url.Parse(strings.TrimSpace(href))
	if err != nil {
		return nil //nolint:nilerr // whatever it is, it is not of our making
	}
	name := path.Base(u.Path)
	bare, found := strings.CutSuffix(name, ".ics")
	if id, err := uuid.Parse(bare); !found || err != nil || id.Version() != 5 {
		return nil //nolint:nilerr // see above
	}
	return each(name)
}
