package httpclient

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Response is an answer, whatever its status.
type Response struct {
	Status int
	Header http.Header
	// Body is at most 1 MiB; Truncated reports that there was more.
	Body      []byte
	Truncated bool

	method      string // of the request
	url         *url.URL
	item        string
	credentials *credentials
	secrets     []string // beside those of credentials
	received    time.Time
}

// Item makes an answer of its own of what r says about one of several things that
// were asked for: a status, and the part of the body that is about it.
func (r *Response) Item(n, status int, body []byte) *Response {
	item := *r
	item.Status, item.Body, item.Truncated = status, body, false
	item.item = fmt.Sprintf(": item %d", n)
	return &item
}

// Err makes an error of the answer, for a caller to whom its status means that
// the push did not work. The class follows from the status alone; the text holds
// the status and the beginning of the body, without our credentials.
func (r *Response) Err() error {
	e := &connector.Error{Class: classOf(r.Status)}
	after, given := parseRetryAfter(r.Header.Get("Retry-After"), r.received)
	switch {
	case r.Status == http.StatusTooManyRequests:
		e.After = after
	case r.Status == http.StatusServiceUnavailable && given:
		e.Class, e.After, e.Overload = connector.Throttled, after, true
	}
	e.Err = fmt.Errorf("%s %s%s: unexpected status %d%s", r.method, redactURL(r.url), r.item, r.Status, r.excerpt())
	return e
}

// classOf tells whose fault a status is: the delivery's, which no further attempt
// cures, or the server's. 401 and 403 say that our credentials are wrong, which
// is true for every delivery alike: an outage.
func classOf(status int) connector.Class {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return connector.Unavailable
	case http.StatusTooManyRequests:
		return connector.Throttled
	case http.StatusRequestTimeout, http.StatusLocked, http.StatusTooEarly:
		return connector.Transient
	}
	if status >= 500 {
		return connector.Transient
	}
	return connector.Permanent
}

// parseRetryAfter reads the Retry-After header: seconds, or a date (RFC 9110,
// section 10.2.3). It reports false if the header is absent or neither.
func parseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil {
		const most = 365 * 24 * time.Hour // keeps the product from overflowing
		return time.Duration(min(seconds, uint64(most/time.Second))) * time.Second, true
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return max(date.Sub(now), 0), true
}
