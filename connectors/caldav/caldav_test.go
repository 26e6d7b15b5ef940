package caldav

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-ical"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// field is a compiled expression: a field of the event, or a constant in quotes.
type field string

func (f field) Eval(s connector.Scope) (any, error) {
	if text, constant := strings.CutPrefix(string(f), "'"); constant {
		return text, nil
	}
	v, _ := s.Event.Value.Get(string(f))
	return v, nil
}

// tree makes a map of names and fields, in turn.
func tree(pairs ...string) *connector.Tree {
	t := &connector.Tree{}
	for i := 0; i < len(pairs); i += 2 {
		t.Fields = append(t.Fields, connector.Branch{Name: pairs[i], Tree: &connector.Tree{
			Expr: &connector.Expr{Source: pairs[i+1], Program: field(pairs[i+1])},
		}})
	}
	return t
}

func configOf(url string) *Config {
	cfg := &Config{URL: url, Map: tree("summary", "title", "start", "'2026-11-28T09:00", "duration", "'PT2H",
		"rrule", "'FREQ=WEEKLY;BYDAY=SA", "timezone", "'America/New_York")}
	cfg.Auth.Basic = &httpclient.Basic{Username: "app", Password: connector.NewSecret(password)}
	return cfg
}

func newConnector(t *testing.T, cfg *Config) *Connector {
	t.Helper()
	require.Empty(t, cfg.Validate())
	c, err := New(t.Context(), cfg, connector.Env{Concurrency: 16})
	require.NoError(t, err)
	return c.(*Connector)
}

func TestConformance(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{
		New: func(t *testing.T) connectortest.System {
			c := newCalendar(t)
			return c.system(newConnector(t, configOf(c.URL+"/app/policies/")))
		},
		RefusesBadTitle: true,
		Secrets:         []string{password},
	})
}

// change is a delivery of one key, prepared. Version 0 deletes it.
func change(t *testing.T, c *Connector, version, offset int64) *connector.Delivery {
	t.Helper()
	d := &connector.Delivery{
		ID: "id", Key: "P-1", Op: connector.Delete, Attempt: 1,
		Event: &event.Event{Record: &event.Record{Position: event.Position{Offset: offset}}, Key: "P-1", HasKey: true},
	}
	if version > 0 {
		d.Op, d.Version = connector.Upsert, connector.Version{Value: version, Known: true}
		d.Event.Value = &event.Object{Names: []string{"title"}, Values: []any{"Weekend Inspections"}}
	}
	require.NoError(t, c.Prepare(d))
	return d
}

// What the calendar holds is never replaced, nor deleted, by something older.
func TestGuard(t *testing.T) {
	t.Parallel()
	server := newCalendar(t)
	c := newConnector(t, configOf(server.URL))
	t.Cleanup(func() { _ = c.Close(t.Context()) })
	for _, step := range []struct {
		name            string
		version, offset int64
		stale           bool
	}{
		{"first", 3, 10, false},
		{"older", 2, 9, true},
		{"older, written later", 2, 12, true},
		{"the same again", 3, 10, false},
		{"an older delete", 0, 8, true},
		{"newer", 4, 13, false},
		{"a newer delete", 0, 14, false},
		{"deleted already", 0, 14, false},
	} {
		receipt, err := c.Push(t.Context(), change(t, c, step.version, step.offset))
		require.NoError(t, err, step.name)
		require.Equal(t, step.stale, receipt.Stale, step.name)
	}
	require.Empty(t, server.events)

	byOffset := func(offset int64) *connector.Delivery {
		d := change(t, c, 1, offset)
		d.Version = connector.Version{Value: offset, Known: true, ByOffset: true}
		require.NoError(t, c.Prepare(d))
		return d
	}
	receipt, err := c.Push(t.Context(), byOffset(20))
	require.NoError(t, err)
	require.False(t, receipt.Stale)
	receipt, err = c.Push(t.Context(), byOffset(19))
	require.NoError(t, err)
	require.True(t, receipt.Stale)
	elsewhere := byOffset(5)
	elsewhere.Event.Partition = 1
	receipt, err = c.Push(t.Context(), elsewhere)
	require.NoError(t, err)
	require.False(t, receipt.Stale, "offsets of two partitions do not compare")
}

// A write between our read and our write, such as another member's, is not lost:
// the attempt fails, and the next one reads what there is.
func TestWriteBetweenReadAndWrite(t *testing.T) {
	t.Parallel()
	for _, held := range []int64{0, 1} {
		server := newCalendar(t)
		c := newConnector(t, configOf(server.URL))
		if held > 0 {
			_, err := c.Push(t.Context(), change(t, c, held, 1))
			require.NoError(t, err)
		}
		newer := change(t, c, 5, 5)
		server.set(func() {
			server.between = func() { server.events["/"+uidOf("P-1")+".ics"] = string(newer.Document.(*document).text) }
		})
		d := change(t, c, 3, 3)
		_, err := c.Push(t.Context(), d)
		require.Equal(t, connector.Transient, connector.Classify(err), "%v", err)
		server.set(func() { server.between = nil })
		receipt, err := c.Push(t.Context(), d)
		require.NoError(t, err)
		require.True(t, receipt.Stale)
		require.EqualValues(t, 5, applied(t, server.events)["P-1"].Version)
		require.NoError(t, c.Close(t.Context()))
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]http.Header{
		`"abc"`: {"If-Match": {`"abc"`}}, `W/"abc"`: nil, "": nil,
	} {
		require.Equal(t, want, condition(&held{etag: tag}))
	}
	require.Equal(t, http.Header{"If-None-Match": {"*"}}, condition(nil))
}

// A calendar that is missing is no fault of the change; nor are our rights.
func TestAnswers(t *testing.T) {
	t.Parallel()
	require.False(t, refusesEvent([]byte(`<error xmlns="DAV:"><need-privileges/></error>`)))
	require.False(t, refusesEvent([]byte("forbidden")))
	require.True(t, refusesEvent([]byte(`<D:error xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><C:max-resource-size/></D:error>`)))
	for _, status := range []int{403, 405, 409} {
		server := newCalendar(t)
		c := newConnector(t, configOf(server.URL))
		server.set(func() { server.between = func() { server.status = status } })
		_, err := c.Push(t.Context(), change(t, c, 1, 1))
		require.Equal(t, connector.Unavailable, connector.Classify(err), "%v", err)
		require.NoError(t, c.Close(t.Context()))
	}
}

func eventWith(t *testing.T, value *event.Object) (string, error) {
	t.Helper()
	d := &connector.Delivery{
		Key: "P-1", Op: connector.Upsert, Version: connector.Version{Value: 7, Known: true},
		Event: &event.Event{Record: &event.Record{Timestamp: time.UnixMilli(1_750_000_000_000).UTC()}, Value: value},
	}
	text, err := calendarOf(d, value, "uid-1")
	return string(text), err
}

func object(pairs ...any) *event.Object {
	o := &event.Object{}
	for i := 0; i < len(pairs); i += 2 {
		o.Add(pairs[i].(string), pairs[i+1])
	}
	return o
}

func TestEvent(t *testing.T) {
	t.Parallel()
	text, err := eventWith(t, object("summary", "Weekend, “Inspections”; all\nsites", "description", strings.Repeat("é", 80),
		"start", "2026-11-28T09:00", "duration", 2*time.Hour, "rrule", "FREQ=WEEKLY;BYDAY=SA,SU", "timezone", "America/New_York",
		"categories", []any{"DOI", "a,b"}, "location", nil, "status", "CONFIRMED"))
	require.NoError(t, err)
	want := `BEGIN:VEVENT
CATEGORIES:DOI,a\,b
DESCRIPTION:ééééééééééééééééééééééééééééééé
 ééééééééééééééééééééééééééééééééééééé
 éééééééééééé
DTSTAMP:20250615T150640Z
DTSTART;TZID=America/New_York:20261128T090000
DURATION:PT7200S
RRULE:FREQ=WEEKLY;BYDAY=SA,SU
STATUS:CONFIRMED
SUMMARY:Weekend\, “Inspections”\; all\nsites
UID:uid-1
X-POLICYSYNC-KEY;VALUE=TEXT:P-1
X-POLICYSYNC-POSITION;VALUE=TEXT:00000000-0000-0000-0000-000000000000/0/0
X-POLICYSYNC-VERSION;VALUE=TEXT:7
END:VEVENT
`
	_, got, _ := strings.Cut(text, "BEGIN:VEVENT")
	got, _, _ = strings.Cut("BEGIN:VEVENT"+got, "END:VCALENDAR")
	require.Empty(t, cmp.Diff(want, strings.ReplaceAll(got, "\r\n", "\n")))
	for line := range strings.SplitSeq(text, "\r\n") {
		require.LessOrEqual(t, len(line), 75, line)
	}
}

// What clocks show in the zone is the same before and after they change, for a
// reader that knows only what the event itself says of the zone.
func TestTimezone(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("America/New_York")
	require.NoError(t, err)
	spring := timezone(zone, time.Date(2027, 1, 1, 0, 0, 0, 0, zone)).Children[1]
	require.Equal(t, ical.CompTimezoneDaylight, spring.Name)
	for name, want := range map[string]string{
		ical.PropDateTimeStart: "20270314T020000", ical.PropTimezoneOffsetFrom: "-0500", ical.PropTimezoneOffsetTo: "-0400",
	} {
		require.Equal(t, want, spring.Props.Get(name).Value)
	}
	for _, name := range []string{"America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "America/Phoenix", "UTC"} {
		zone, err := time.LoadLocation(name)
		require.NoError(t, err)
		from := time.Date(2026, 11, 28, 9, 0, 0, 0, zone)
		c := timezone(zone, from)
		for day := range 365 * 9 {
			at := from.AddDate(0, 0, day)
			_, want := at.Zone()
			require.Equal(t, want, offsetAt(t, c, at), "%s at %s", name, at)
		}
	}
}

// offsetAt reads a VTIMEZONE: the part that began last before the time holds.
func offsetAt(t *testing.T, zone *ical.Component, at time.Time) int {
	t.Helper()
	var last time.Time
	offset := 0
	seconds := func(p *ical.Prop) int {
		parsed, err := time.Parse("-0700", p.Value)
		require.NoError(t, err)
		_, s := parsed.Zone()
		return s
	}
	for _, part := range zone.Children {
		before, to := seconds(part.Props.Get(ical.PropTimezoneOffsetFrom)), seconds(part.Props.Get(ical.PropTimezoneOffsetTo))
		for _, name := range []string{ical.PropDateTimeStart, ical.PropRecurrenceDates} {
			for _, p := range part.Props.Values(name) {
				begins, err := time.ParseInLocation("20060102T150405", p.Value, time.FixedZone("", before))
				require.NoError(t, err)
				if !begins.After(at) && !begins.Before(last) {
					last, offset = begins, to
				}
			}
		}
	}
	return offset
}

func TestTimes(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 7, 1, 13, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		value any
		zone  any
		want  string // of DTSTART, or of the error
	}{
		{event.Date(20635), nil, "DTSTART;VALUE=DATE:20260701"},
		{"2026-07-01", "Europe/Berlin", "DTSTART;VALUE=DATE:20260701"},
		{at, nil, "DTSTART:20260701T130000Z"},
		{at, "Europe/Berlin", "DTSTART;TZID=Europe/Berlin:20260701T150000"},
		{"2026-07-01T15:00:00+02:00", nil, "DTSTART:20260701T130000Z"},
		{"2026-07-01T15:00:00", "Europe/Berlin", "DTSTART;TZID=Europe/Berlin:20260701T150000"},
		{"2026-07-01T15:00:00", nil, "has no offset, and timezone is not given"},
		{"soon", nil, `map.start: "soon" is no date and no time`},
		{at, "Mars/Olympus", `map.timezone: "Mars/Olympus" is no time zone`},
		{nil, nil, "map.start: it is null"},
	} {
		text, err := eventWith(t, object("summary", "x", "start", tt.value, "timezone", tt.zone))
		if err != nil {
			text = err.Error()
		}
		require.Contains(t, text, tt.want, "%+v", tt)
	}
}

func TestBadEvents(t *testing.T) {
	t.Parallel()
	for want, value := range map[string]*event.Object{
		"map.summary: it is null":                         object("summary", nil, "start", "2026-07-01"),
		"is not after the start":                          object("summary", "x", "start", "2026-07-01", "end", "2026-07-01"),
		"not both dates or both times":                    object("summary", "x", "start", "2026-07-01", "end", time.Unix(1e10, 0)),
		"a duration, not both":                            object("summary", "x", "start", "2026-07-01", "end", "2026-07-02", "duration", "P1D"),
		"map.rrule":                                       object("summary", "x", "start", "2026-07-01", "rrule", "every day"),
		"map.duration":                                    object("summary", "x", "start", "2026-07-01", "duration", "two hours"),
		"map.summary: the text holds a control character": object("summary", "x\x00", "start", "2026-07-01"),
		"map.status: the text holds a control character":  object("summary", "x", "start", "2026-07-01", "status", "A\r\nX-EVIL:1"),
		"map.topic: no property of an event":              object("topic", "x", "start", "2026-07-01"),
		"map.rrule: ":                                     object("summary", "x", "start", "2026-07-01", "rrule", "FREQ=DAILY\r\nX-EVIL:1"),
	} {
		_, err := eventWith(t, value)
		require.ErrorContains(t, err, want)
	}
	_, err := calendarOf(change(t, newConnector(t, configOf("http://x")), 1, 1), "text", "uid")
	require.ErrorContains(t, err, "want an object with summary and start")
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	bad := Config{URL: "https://kate:hush@cal.example/", Map: tree("topic", "x", "start", "x", "end", "x", "duration", "x")}
	var messages []string
	for _, m := range bad.Validate() {
		messages = append(messages, m.Path+": "+m.Message)
	}
	require.Empty(t, cmp.Diff([]string{
		"url: credentials belong under auth, not into the url",
		"map.topic: no property of an event: want one of " + strings.Join(properties, ", "),
		"map: summary is missing",
		"map: an event has an end or a duration, not both",
	}, messages))
	for _, url := range []string{"cal.example/x", "https://", "https://cal.example/?a=b"} {
		require.Len(t, (&Config{URL: url, Map: tree("summary", "x", "start", "x")}).Validate(), 1, url)
	}
}

// What a calendar answers may be anything, and breaks nothing.
func FuzzReadHeld(f *testing.F) {
	f.Add("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nX-POLICYSYNC-VERSION:7\r\nX-POLICYSYNC-POSITION:a/0/1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
	f.Add("BEGIN:VEVENT\r\nX-POLICYSYNC-POSITION;A=\"b:/\r\n c\r\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		h := readHeld([]byte(text), "tag")
		require.Equal(t, "tag", h.etag)
		require.False(t, h.position.after(h.position))
	})
}

// Two events are one if people see the same, however a server writes them.
func TestDifferences(t *testing.T) {
	t.Parallel()
	object := func(lines ...string) []byte {
		return []byte("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n" +
			strings.Join(lines, "\r\n") + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
	}
	const start, summary = "DTSTART;TZID=America/New_York:20261128T090000", "SUMMARY:Inspections\\, weekly"
	for name, c := range map[string]struct {
		have   []byte
		differ []connector.FieldDifference
	}{
		"other order and folding": {object("SUMMARY:Inspec\r\n tions\\, weekly", "X-OTHER:1", start), nil},
		"another summary": {
			object(start, "SUMMARY:Lunch"), []connector.FieldDifference{{Field: "summary", Want: "Inspections, weekly", Have: "Lunch"}},
		},
		"another zone": {
			object("DTSTART:20261128T140000Z", summary),
			[]connector.FieldDifference{{Field: "dtstart", Want: "2026-11-28T14:00:00Z America/New_York", Have: "2026-11-28T14:00:00Z "}},
		},
		"a place that nobody wants": {object(start, summary, "LOCATION:Here"), []connector.FieldDifference{{Field: "location", Have: "Here"}}},
		"no event":                  {[]byte("BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"), []connector.FieldDifference{{Want: "an event", Have: "read event: the calendar object has none"}}},
	} {
		found, err := differences(object(start, summary), c.have)
		require.NoError(t, err, name)
		require.Equal(t, c.differ, found, name)
	}
}
