package caldav

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-ical"
	"github.com/teambition/rrule-go"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// The properties in which an event tells which change it holds.
const (
	propKey      = "X-POLICYSYNC-KEY"
	propVersion  = "X-POLICYSYNC-VERSION"
	propPosition = "X-POLICYSYNC-POSITION"
)

// calendarOf writes the calendar object of a delivery (RFC 5545). It is the same
// for each attempt.
func calendarOf(d *connector.Delivery, document any, uid string) ([]byte, error) {
	o, ok := document.(*event.Object)
	if !ok {
		return nil, fmt.Errorf("the map made %T, want an object with summary and start", document)
	}
	e := ical.NewEvent()
	e.Props.SetText(ical.PropUID, uid)
	e.Props.SetDateTime(ical.PropDateTimeStamp, d.Event.Timestamp.UTC())
	if err := setText(e.Props, propKey, d.Key); err != nil {
		return nil, err
	}
	if d.Version.Known && !d.Version.ByOffset {
		e.Props.SetText(propVersion, strconv.FormatInt(d.Version.Value, 10))
	}
	e.Props.SetText(propPosition, positionOf(d).String())
	zone, err := zoneOf(o)
	if err != nil {
		return nil, err
	}
	for i, name := range o.Names {
		if o.Values[i] == nil || name == "timezone" {
			continue
		}
		if err := setProperty(e.Props, name, o.Values[i], zone); err != nil {
			return nil, fmt.Errorf("map.%s: %w", name, err)
		}
	}
	start, err := checkTimes(e.Props)
	if err != nil {
		return nil, err
	}
	cal := ical.NewCalendar()
	cal.Props.SetText(ical.PropProductID, "-//policysync//policysync//EN")
	cal.Props.SetText(ical.PropVersion, "2.0")
	if zone != nil && zone != time.UTC {
		cal.Children = append(cal.Children, timezone(zone, start))
	}
	cal.Children = append(cal.Children, e.Component)
	var text bytes.Buffer
	if err := ical.NewEncoder(&text).Encode(cal); err != nil {
		return nil, err
	}
	return fold(text.Bytes()), nil
}

func zoneOf(o *event.Object) (*time.Location, error) {
	value, _ := o.Get("timezone")
	if value == nil {
		return nil, nil
	}
	name, err := event.Text(value)
	if err != nil {
		return nil, fmt.Errorf("map.timezone: %w", err)
	}
	zone, err := event.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil, fmt.Errorf("map.timezone: %q is no time zone: want one such as America/New_York", name)
	}
	return zone, nil
}

// checkTimes reports an event that has no start, or that ends before it.
func checkTimes(props ical.Props) (start time.Time, err error) {
	from, to := props.Get(ical.PropDateTimeStart), props.Get(ical.PropDateTimeEnd)
	switch {
	case props.Get(ical.PropSummary) == nil:
		return start, errors.New("map.summary: it is null")
	case from == nil:
		return start, errors.New("map.start: it is null")
	case to != nil && props.Get(ical.PropDuration) != nil:
		return start, errors.New("map: an event has an end or a duration, not both")
	}
	if start, err = from.DateTime(nil); err != nil || to == nil {
		return start, err
	}
	end, err := to.DateTime(nil)
	switch {
	case err != nil:
		return start, err
	case from.ValueType() != to.ValueType():
		return start, errors.New("map.end: start and end are not both dates or both times")
	case !end.After(start):
		return start, fmt.Errorf("map.end: %s is not after the start, %s", to.Value, from.Value)
	}
	return start, nil
}

func setProperty(props ical.Props, name string, value any, zone *time.Location) error {
	switch name {
	case "start":
		return setTime(props, ical.PropDateTimeStart, value, zone)
	case "end":
		return setTime(props, ical.PropDateTimeEnd, value, zone)
	case "categories":
		if list, ok := value.([]any); ok {
			return setList(props, list)
		}
	}
	if d, ok := value.(time.Duration); ok && name == "duration" {
		p := ical.NewProp(ical.PropDuration)
		p.SetDuration(d)
		props.Set(p)
		return nil
	}
	text, err := event.Text(value)
	if err != nil {
		return err
	}
	p := ical.NewProp(strings.ToUpper(name))
	p.Value = text
	switch name {
	case "duration":
		_, err = p.Duration()
	case "rrule":
		_, err = rrule.StrToROption(text)
	case "url", "status":
		if strings.ContainsFunc(text, unicode.IsControl) {
			err = errors.New("the text holds a control character")
		}
	case "summary", "description", "location", "categories":
		return setText(props, strings.ToUpper(name), text)
	default:
		err = errors.New("no property of an event")
	}
	props.Set(p)
	return err
}

// setText sets a text, in which only line breaks and tabs may control anything.
func setText(props ical.Props, name, text string) error {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if strings.ContainsFunc(text, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }) {
		return errors.New("the text holds a control character")
	}
	props.SetText(name, text)
	return nil
}

func setList(props ical.Props, list []any) error {
	texts := make([]string, len(list))
	for i, item := range list {
		var err error
		if texts[i], err = event.Text(item); err != nil {
			return err
		}
	}
	p := ical.NewProp(ical.PropCategories)
	p.SetTextList(texts)
	props.Set(p)
	return nil
}

// setTime sets a day, or a time: in the zone if there is one, else in UTC. A text
// without an offset is what clocks show in the zone.
func setTime(props ical.Props, name string, value any, zone *time.Location) error {
	p := ical.NewProp(name)
	switch v := value.(type) {
	case event.Date:
		p.SetDate(v.Time())
	case time.Time:
		p.SetDateTime(inZone(v, zone))
	default:
		text, err := event.Text(value)
		if err != nil {
			return err
		}
		if day, err := time.Parse(time.DateOnly, text); err == nil {
			p.SetDate(day)
			break
		}
		at, err := parseTime(text, zone)
		if err != nil {
			return err
		}
		p.SetDateTime(inZone(at, zone))
	}
	props.Set(p)
	return nil
}

func parseTime(text string, zone *time.Location) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04"} {
		at, err := time.ParseInLocation(layout, text, time.UTC)
		if err != nil {
			continue
		}
		if zone == nil {
			return at, fmt.Errorf("%q has no offset, and timezone is not given", text)
		}
		return time.ParseInLocation(layout, text, zone)
	}
	return time.Time{}, fmt.Errorf("%q is no date and no time: want 2006-01-02, 2006-01-02T15:04:05 or RFC 3339", text)
}

func inZone(at time.Time, zone *time.Location) time.Time {
	if zone == nil {
		zone = time.UTC
	}
	return at.In(zone)
}

// fold breaks lines of more than 75 octets, between characters (RFC 5545, section
// 3.1), which the encoder leaves to us.
func fold(text []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.SplitSeq(bytes.TrimSuffix(text, []byte("\r\n")), []byte("\r\n")) {
		for limit := 75; len(line) > limit; limit = 74 { // the space counts
			end := limit
			for !utf8.RuneStart(line[end]) {
				end--
			}
			out.Write(line[:end])
			out.WriteString("\r\n ")
			line = line[end:]
		}
		out.Write(line)
		out.WriteString("\r\n")
	}
	return out.Bytes()
}
