// Package redact takes the sensitive values of an event out of texts that are made
// of errors: letters, logs, spans and receipts. It owns which values those are, by
// path or by the attribute "sensitive" of a schema's field, and how they may look
// in a text. It is asked only once something has failed, so it prepares nothing.
package redact

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hms-sme/policysync/pkg/event"
)

// Mark stands in a text where a value was.
const Mark = "[redacted]"

// Path leads to a field whose values are sensitive, with all that is below them, as
// in event.payload.agent.email. It leads through each item of an array; below a map
// it names a key.
type Path string

// Redactor knows the paths that the config adds to what the schemas say.
type Redactor struct{ paths [][]string }

// New returns a redactor. Paths that a schema lacks are ignored; see [Path.Missing].
func New(paths []Path) *Redactor {
	r := &Redactor{}
	for _, p := range paths {
		r.paths = append(r.paths, p.steps())
	}
	return r
}

// Error returns err with a text that lacks the sensitive values of the events. Its
// chain is that of err. A nil Redactor redacts what the schemas say.
func (r *Redactor) Error(err error, events ...*event.Event) error {
	if err == nil {
		return nil
	}
	clean := err.Error()
	if text := r.Text(clean, events...); text != clean {
		return &redacted{err, text}
	}
	return err
}

// redacted is an error that says less than the one below it.
type redacted struct {
	error
	text string
}

func (e *redacted) Error() string { return e.text }
func (e *redacted) Unwrap() error { return e.error }

// Text returns text without the sensitive values of the events. An event may be nil,
// or lack its value.
func (r *Redactor) Text(text string, events ...*event.Event) string {
	found := values{}
	for _, ev := range events {
		if ev == nil || ev.Value == nil || ev.Schema == nil {
			continue
		}
		var paths [][]string
		if r != nil {
			paths = r.paths
		}
		found.collect(ev.Value, []*event.Type{ev.Schema.Root}, paths, false)
	}
	if len(found) == 0 {
		return text
	}
	return found.cover(text)
}

// span is the bytes [from, to) of a text.
type span struct{ from, to int }

// cover puts the mark over each place of the text that shows a value. Values that
// overlap are covered together.
func (vs values) cover(text string) string {
	var spans []span
	folded, ends := fold(text), cuts(text)
	for v, whole := range vs {
		spans = v.find(spans, folded, ends, whole)
	}
	if len(spans) == 0 {
		return text
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var out strings.Builder
	end := 0
	for _, s := range spans {
		if s.from >= end {
			out.WriteString(text[end:s.from])
			out.WriteString(Mark)
		}
		end = max(end, s.to)
	}
	out.WriteString(text[end:])
	return out.String()
}
