package caldav

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-ical"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
)

const password = "password-of-the-test"

// calendar is a CalDAV server with one calendar. Each failure echoes the
// credentials, as some servers do.
type calendar struct {
	*httptest.Server
	// mu guards what follows, which requests share with the test.
	mu      sync.Mutex
	events  map[string]string // by path
	status  int               // answered to everything, unless 0
	between func()            // called between a read and a write
	stalled chan struct{}
}

func newCalendar(t *testing.T) *calendar {
	c := &calendar{events: map[string]string{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func etag(text string) string { return fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(text))) }

func (c *calendar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stalled != nil {
		c.stalled <- struct{}{}
		<-r.Context().Done()
		return
	}
	if r.Method == http.MethodPut && c.between != nil {
		c.between()
	}
	held, there := c.events[r.URL.Path]
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case c.status != 0:
		w.WriteHeader(c.status)
		_, _ = io.WriteString(w, "refused: "+r.Header.Get("Authorization")+password)
	case r.Method == "PROPFIND" && r.Header.Get("Depth") == "1":
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = io.WriteString(w, `<multistatus xmlns="DAV:"><response><href>/app/policies/</href></response>`)
		for path := range c.events {
			_, _ = fmt.Fprintf(w, `<response><href>%s</href></response>`, path)
		}
		_, _ = io.WriteString(w, `<response><href>/app/policies/lunch%20with%20Ann.ics</href></response></multistatus>`)
	case r.Method == "PROPFIND":
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = io.WriteString(w, `<multistatus xmlns="DAV:"><response><propstat><prop><resourcetype><collection/>
			<calendar xmlns="urn:ietf:params:xml:ns:caldav"/></resourcetype></prop></propstat></response></multistatus>`)
	case !there && r.Method != http.MethodPut:
		w.WriteHeader(http.StatusNotFound)
	case none == "*" && there, match != "" && (!there || match != etag(held)):
		w.WriteHeader(http.StatusPreconditionFailed)
	case r.Method == http.MethodGet:
		w.Header().Set("ETag", etag(held))
		_, _ = io.WriteString(w, held)
	case r.Method == http.MethodDelete:
		delete(c.events, r.URL.Path)
	case strings.Contains(string(body), connectortest.BadTitle):
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `<error xmlns="DAV:"><valid-calendar-data xmlns="urn:ietf:params:xml:ns:caldav"/></error>`)
	default:
		c.events[r.URL.Path] = string(body)
	}
}

func (c *calendar) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// applied reads the events as a client would.
func applied(t *testing.T, texts map[string]string) map[string]connectortest.Record {
	t.Helper()
	records := map[string]connectortest.Record{}
	for _, text := range texts {
		cal, err := ical.NewDecoder(strings.NewReader(text)).Decode()
		require.NoError(t, err, text)
		for _, e := range cal.Events() {
			key, err := e.Props.Text(propKey)
			require.NoError(t, err)
			title, err := e.Props.Text(ical.PropSummary)
			require.NoError(t, err)
			records[key] = connectortest.Record{Title: title, Version: readHeld([]byte(text), "").version}
		}
	}
	return records
}

// system presents the calendar to the conformance suite.
func (c *calendar) system(conn connector.Connector) connectortest.System {
	fail := func(status int) func(*testing.T) func() {
		return func(*testing.T) func() {
			c.set(func() { c.status = status })
			return func() { c.set(func() { c.status = 0 }) }
		}
	}
	return connectortest.System{
		Connector: conn,
		Applied: func(t *testing.T) map[string]connectortest.Record {
			c.mu.Lock()
			defer c.mu.Unlock()
			return applied(t, c.events)
		},
		Fail: map[connector.Class]func(*testing.T) func(){
			connector.Transient: fail(500), connector.Unavailable: fail(503),
			connector.Throttled: fail(429), connector.Permanent: fail(400),
		},
		Stall: func(*testing.T) <-chan struct{} {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.stalled = make(chan struct{}, 1)
			return c.stalled
		},
	}
}
