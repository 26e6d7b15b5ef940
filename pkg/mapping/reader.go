package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// EventConfig says how to read an event. Where an expression is
// not given, its default holds only for schemas that have that field, and have it of
// a fitting type. A version that may be null does not fit: a target has one source
// of versions for all its events.
type EventConfig struct {
	// ID is event.eventId unless given: in traces and webhooks.
	ID *connector.Expr `yaml:"id"`
	// Type is event.type unless given: in traces and webhooks.
	Type *connector.Expr `yaml:"type"`
	// Version is event.version unless given: a whole number that only grows per key.
	Version *connector.Expr `yaml:"version" want:"int"`
	// Targets is event.target unless given: the names of those that the event is for.
	// Null or empty: each whose `when` holds.
	Targets *connector.Expr `yaml:"targets"`
	// Key replaces the record's key.
	Key *connector.Expr `yaml:"key"`
	// Topics override the section for single topics.
	Topics []connector.Named[EventConfig] `yaml:"topics"`
}

// defaults are the fields of the root record that are read where the config says
// nothing.
var defaults = struct{ id, kind, version, targets string }{"eventId", "type", "version", "target"}

// ErrNoKey reports a tombstone of a topic whose keys come from the value: nobody can
// tell what it deletes.
var ErrNoKey = errors.New("a tombstone has no value to take the key from, as event.key asks")

// Reader reads from a decoded value what policysync must know of it.
type Reader struct {
	all    EventConfig
	topics map[string]*EventConfig

	// hints caches which defaults hold, by schema.
	hints sync.Map // *event.Schema → hint
}

// KeyFromValue reports whether the keys of a topic's events are not those of its records.
func (r *Reader) KeyFromValue(topic string) bool {
	c := &r.all
	if t := r.topics[topic]; t != nil {
		c = t
	}
	return c.Key != nil
}

// hint says which defaults a schema has the fields for.
type hint struct{ id, kind, version, targets bool }

// NewReader returns a reader. The expressions of c must have been compiled.
func NewReader(c EventConfig) *Reader {
	r := &Reader{all: c, topics: map[string]*EventConfig{}}
	for i := range c.Topics {
		t := c.Topics[i].Value
		t.ID, t.Type, t.Version = either(t.ID, c.ID), either(t.Type, c.Type), either(t.Version, c.Version)
		t.Targets, t.Key = either(t.Targets, c.Targets), either(t.Key, c.Key)
		r.topics[c.Topics[i].Name] = &t
	}
	return r
}

func either(a, b *connector.Expr) *connector.Expr {
	if a.IsZero() {
		return b
	}
	return a
}

// Read makes the event of a record. Its errors come from the record's values, or
// are a [*SchemaError].
func (r *Reader) Read(rec *event.Record, value *event.Object, schema *event.Schema) (*event.Event, error) {
	c := r.topics[rec.Topic]
	if c == nil {
		c = &r.all
	}
	ev := &event.Event{Record: rec, Value: value, Schema: schema, Key: string(rec.Key), HasKey: rec.Key != nil}
	if ev.Tombstone() {
		if !c.Key.IsZero() {
			return nil, fmt.Errorf("read event: %w", ErrNoKey)
		}
		return ev, nil
	}
	h := r.hint(schema)
	s := connector.Scope{Event: ev}
	var err error
	read := func(what string, e *connector.Expr, field string, has bool, use func(any) error) {
		if err != nil || e.IsZero() && !has {
			return
		}
		var v any
		if e.IsZero() {
			v, _ = value.Get(field)
		} else if v, err = e.Eval(s); err != nil {
			return
		}
		if useErr := use(v); useErr != nil {
			err = fmt.Errorf("read event: %s: %w", what, useErr)
		}
	}
	read("key", c.Key, "", false, func(v any) error {
		text, err := event.Text(v)
		// A part of the value would keep all of it, for as long as anybody has the key.
		ev.Key, ev.HasKey = strings.Clone(text), true
		return err
	})
	read("id", c.ID, defaults.id, h.id, func(v any) error { return textInto(&ev.ID, v) })
	read("type", c.Type, defaults.kind, h.kind, func(v any) error { return textInto(&ev.Type, v) })
	read("version", c.Version, defaults.version, h.version, func(v any) error {
		switch v := v.(type) {
		case int64:
			ev.Version, ev.HasVersion = v, true
			return nil
		case nil:
			return errors.New("null is no version: want a whole number")
		}
		return fmt.Errorf("a %T is no version: want a whole number", v)
	})
	read("targets", c.Targets, defaults.targets, h.targets, func(v any) (err error) {
		ev.Targets, err = names(v)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ev, nil
}

// Versioned reports whether events of the schema have a version of their own.
func (r *Reader) Versioned(topic string, s *event.Schema) bool {
	c := r.topics[topic]
	if c == nil {
		c = &r.all
	}
	return !c.Version.IsZero() || r.hint(s).version
}

func (r *Reader) hint(s *event.Schema) hint {
	cached, _ := r.hints.Load(s)
	if h, ok := cached.(hint); ok {
		return h
	}
	has := func(name string, nullable bool, kinds ...event.Kind) bool {
		f := s.Root.Field(name)
		if f == nil {
			return false
		}
		t, null := f.Type.Nullable()
		return (nullable || !null) && slices.Contains(kinds, t.Kind)
	}
	h := hint{
		id:      has(defaults.id, true, event.String),
		kind:    has(defaults.kind, true, event.String, event.Enum),
		version: has(defaults.version, false, event.Int, event.Long),
		targets: has(defaults.targets, true, event.String, event.Array, event.Union),
	}
	r.hints.Store(s, h)
	return h
}

// textInto stores a scalar as text, and null as none.
func textInto(to *string, v any) (err error) {
	if v != nil {
		*to, err = event.Text(v)
	}
	return err
}

// names reads one name, a list of them, or null.
func names(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		list := make([]string, len(v))
		for i, item := range v {
			name, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("item %d is %T, want the name of a target", i, item)
			}
			list[i] = name
		}
		return list, nil
	}
	return nil, fmt.Errorf("a %T names no targets: want text, a list of texts, or null", v)
}
