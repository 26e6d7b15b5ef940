package http

import (
	"fmt"
	nethttp "net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

// Config is the part of a target that connector http reads.
type Config struct {
	httpclient.Config `yaml:",inline"`
	// URL is where every upsert goes, by Method (POST unless given). It stands in
	// place of Create and Update.
	URL *connector.Text `yaml:"url"`
	// Method goes with URL.
	Method string `yaml:"method" oneof:"POST PUT PATCH"`
	// Update is tried first, by PUT unless its method is given; if it answers 404,
	// so is Create, by POST. With Update alone a 404 is a permanent error. With
	// Create alone every version of a key is created: right for a target that keeps
	// a history.
	Create *Call `yaml:"create"`
	Update *Call `yaml:"update"`
	// Conflict says what 409 to Create means, where there is no Update; it must be
	// said, since only the target's makers know. done: it answers so if it has this
	// very change, as after an attempt of which no answer came. permanent: it may
	// answer so because it has an earlier version of the key, so that the change would
	// be lost; it becomes a dead letter.
	Conflict string `yaml:"conflict" oneof:"done permanent"`
	// Bulk sends many upserts by one call, in place of URL, Create and Update. Deletes
	// are calls of their own.
	Bulk *Bulk `yaml:"bulk"`
	// Delete is what a tombstone does, by DELETE unless its method is given;
	// "ignore" leaves at the target what is there. One of the two must be said: a
	// delete that is dropped unasked is lost. The URL sees no event, only the key.
	Delete *Delete `yaml:"delete"`
	// Headers are sent besides those that every request has, and in their place. A
	// header whose text uses the event is left out of a delete, which has none.
	Headers []connector.Named[*connector.Text] `yaml:"headers"`
	// Map makes the body, sent as JSON; without it the body is the whole event. A
	// delete has no body.
	Map *connector.Tree `yaml:"map"`
	// MaxBody is how large a body may be. A larger one is a dead letter, a larger batch
	// is halved; neither is sent.
	MaxBody connector.Bytes `yaml:"max_body" default:"10MiB" min:"1"`
	// Success are the statuses that mean that the target holds the change; 200-299
	// unless given.
	Success Statuses `yaml:"success"`
	// Permanent are statuses that become a dead letter at once, whatever they mean
	// by themselves.
	Permanent Statuses `yaml:"permanent"`
	// Reference is the target's own id for what it holds, read from the JSON of its
	// answer, such as response.id. An answer without it is no failure.
	Reference *connector.Expr `yaml:"reference" vars:"response"`
	// Read says how to read back what the target holds, for `policysync verify`.
	Read *Read `yaml:"read"`
}

const conflictDone = "done"

// Call is a method and a URL. A value in the URL is escaped for its place there.
type Call struct {
	Method string          `yaml:"method" oneof:"POST PUT PATCH DELETE"`
	URL    *connector.Text `yaml:"url" required:"true"`
}

// Delete is the call for a tombstone, or the word ignore.
type Delete struct {
	Call   `yaml:",inline"`
	Ignore bool `yaml:"-"`
}

// UnmarshalScalar reads the short form, ignore.
func (d *Delete) UnmarshalScalar(text string) error {
	if text != "ignore" {
		return fmt.Errorf("want ignore or a mapping with url, have %q", text)
	}
	d.Ignore = true
	return nil
}

// Statuses is a list of statuses and ranges of them, such as 404 and 200-299.
type Statuses []Range

// Contains reports whether one of the ranges holds the status.
func (s Statuses) Contains(status int) bool {
	return slices.ContainsFunc(s, func(r Range) bool { return r.First <= status && status <= r.Last })
}

// Range is an inclusive range of HTTP statuses.
type Range struct{ First, Last int }

// UnmarshalText reads 404 or 200-299.
func (r *Range) UnmarshalText(text []byte) error {
	first, last, ranged := strings.Cut(string(text), "-")
	if !ranged {
		last = first
	}
	var err1, err2 error
	r.First, err1 = strconv.Atoi(strings.TrimSpace(first))
	r.Last, err2 = strconv.Atoi(strings.TrimSpace(last))
	if err1 != nil || err2 != nil || r.First < 200 || r.Last < r.First || r.Last > 599 {
		return fmt.Errorf("%q is no status: want one from 200 to 599, or a range such as 200-299", text)
	}
	return nil
}

// SetDefaults fills in the methods, and what counts as a success.
func (c *Config) SetDefaults() {
	method := func(call *Call, method string) {
		if call != nil && call.Method == "" {
			call.Method = method
		}
	}
	method(c.Create, nethttp.MethodPost)
	method(c.Update, nethttp.MethodPut)
	if c.Bulk != nil {
		method(&c.Bulk.Call, nethttp.MethodPost)
	}
	if c.Delete != nil {
		method(&c.Delete.Call, nethttp.MethodDelete)
	}
	if c.URL != nil && c.Method == "" {
		c.Method = nethttp.MethodPost
	}
	if c.Success == nil {
		c.Success = Statuses{{First: 200, Last: 299}}
	}
}

// Validate reports what the types of the fields cannot say.
func (c *Config) Validate() []connector.Mistake {
	var ms []connector.Mistake
	mistake := func(path, format string, args ...any) {
		ms = append(ms, connector.Mistake{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	checkURL := func(path string, t *connector.Text) {
		if why := faultOf(t); why != "" {
			mistake(path, "%s", why)
		}
	}
	switch {
	case c.Bulk != nil && (c.URL != nil || c.Create != nil || c.Update != nil):
		mistake("bulk", "bulk takes every upsert: leave it out, or url, create and update")
	case c.URL != nil && (c.Create != nil || c.Update != nil):
		mistake("url", "url takes every upsert: leave it out, or create and update")
	case c.Bulk == nil && c.URL == nil && c.Create == nil && c.Update == nil:
		mistake("", "nothing says where an upsert goes: set url, or create and update, or bulk")
	case c.URL == nil && c.Method != "":
		mistake("method", "method goes with url: create and update have their own")
	}
	switch alone := c.Create != nil && c.Update == nil; {
	case alone && c.Conflict == "":
		mistake("create", "nothing says what 409 to create means: set conflict to done if the target then has this very change, else to permanent")
	case !alone && c.Conflict != "":
		mistake("conflict", "conflict goes with create alone: where there is an update, that comes after a 409 to create")
	}
	checkURL("url", c.URL)
	if c.Create != nil {
		checkURL("create.url", c.Create.URL)
	}
	if c.Update != nil {
		checkURL("update.url", c.Update.URL)
	}
	if c.Bulk != nil {
		checkURL("bulk.url", c.Bulk.URL)
		ms = append(ms, c.Bulk.mistakes()...)
	}
	switch {
	case c.Delete == nil:
		mistake("", "nothing says what a deleted key does: set delete, or delete: ignore")
	case !c.Delete.Ignore:
		checkURL("delete.url", c.Delete.URL)
	}
	if c.Read != nil {
		checkURL("read.url", c.Read.URL)
	}
	for _, h := range c.Headers {
		path := "headers." + h.Name
		switch {
		case !httpguts.ValidHeaderFieldName(h.Name):
			mistake(path, "%q is no name of a header", h.Name)
		case slices.ContainsFunc(h.Value.Parts, func(p connector.Part) bool { return !httpguts.ValidHeaderFieldValue(p.Literal) }):
			mistake(path, "the text holds a character that no header can")
		case slices.Contains([]string{"Host", "Content-Length", "Transfer-Encoding", "Connection"},
			nethttp.CanonicalHeaderKey(h.Name)):
			mistake(path, "%s belongs to the connection and cannot be set", h.Name)
		case c.Bulk != nil && !h.Value.Constant():
			mistake(path, "a batch is of many policies: with bulk a header has no expressions")
		}
	}
	return ms
}
