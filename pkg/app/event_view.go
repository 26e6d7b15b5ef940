package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/route"
)

// EventView is a record as this config reads it, and what each target would be sent.
type EventView struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Timestamp time.Time `json:"timestamp"`
	Key       *string   `json:"key,omitempty"`
	Version   *int64    `json:"version,omitempty"`
	Type      string    `json:"type,omitempty"`
	SchemaID  int       `json:"schema_id,omitempty"`
	// Headers are the record's.
	Headers []Header `json:"headers,omitempty"`
	// Event is null for a tombstone, and absent if it can't be read.
	Event     json.RawMessage `json:"event,omitempty"`
	Documents []Document      `json:"documents,omitempty"`
	// NotReadable says how far this config came with the record.
	NotReadable string `json:"not_readable,omitempty"`
}

// Header is one of a record's.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Document is what a target would be sent of an event.
type Document struct {
	Target string `json:"target"`
	// Delivered is false if routing keeps the event from the target.
	Delivered bool            `json:"delivered"`
	Document  json.RawMessage `json:"document,omitempty"`
	Error     string          `json:"error,omitempty"`
}

// View reads a record as the service would now, and maps it for each target, or only
// for the named ones.
func (p *Previewer) View(ctx context.Context, r *event.Record, targets ...string) *EventView {
	v := &EventView{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UTC()}
	if r.Key != nil {
		key := string(r.Key)
		v.Key = &key
	}
	for _, h := range r.Headers {
		v.Headers = append(v.Headers, Header{h.Key, shown(h.Value)})
	}
	ev, err := p.plan.event(ctx, r)
	if err == nil {
		v.Event, err = EventDocument(ev.Value)
	}
	if err != nil {
		v.NotReadable = err.Error()
		return v
	}
	v.Type = ev.Type
	if ev.HasVersion {
		v.Version = &ev.Version
	}
	if ev.HasKey {
		v.Key = &ev.Key
	}
	if ev.Schema != nil {
		v.SchemaID = ev.Schema.ID
	}
	if len(targets) == 0 {
		targets = p.plan.names()
	}
	for _, target := range targets {
		d := Document{Target: target}
		if preview, err := p.Preview(ctx, target, r); err != nil {
			d.Error = err.Error()
		} else {
			d.Delivered, d.Document = preview.Delivered, preview.Document
		}
		v.Documents = append(v.Documents, d)
	}
	return v
}

// shown is a header's value as text; bytes that are none are quoted.
func shown(value []byte) string {
	if utf8.Valid(value) {
		return string(value)
	}
	return fmt.Sprintf("%q", value)
}

// keyed reports whether a record may be of the policy, as far as that shows without
// decoding it.
func (p *Previewer) keyed(r *event.Record, key string) bool {
	if string(r.Key) == key || p.plan.cfg.Event.Key != nil {
		return true
	}
	for _, t := range p.plan.cfg.Event.Topics {
		if t.Name == r.Topic && t.Value.Key != nil {
			return true
		}
	}
	return false
}

var errOtherPolicy = errors.New("of another policy")

// routed reads a record of the policy, and where it goes.
func (p *Previewer) routed(ctx context.Context, r *event.Record, key string) (*event.Event, []route.Verdict, error) {
	if !p.keyed(r, key) {
		return nil, nil, errOtherPolicy
	}
	ev, err := p.plan.event(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	if ev.Key != key {
		return nil, nil, errOtherPolicy
	}
	return ev, p.plan.Router.Route(ev).Targets, nil
}
