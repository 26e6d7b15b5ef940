package app

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// LetterDocument is a letter as the commands print it in JSON.
type LetterDocument struct {
	ID           string     `json:"id"`
	Target       string     `json:"target,omitempty"`
	Class        string     `json:"class"`
	Error        string     `json:"error"`
	Key          *string    `json:"key,omitempty"`
	Version      *int64     `json:"version,omitempty"`
	Attempts     int        `json:"attempts"`
	FirstAttempt *time.Time `json:"first_attempt,omitempty"`
	LastAttempt  *time.Time `json:"last_attempt,omitempty"`
	Written      time.Time  `json:"written"`
	Topic        string     `json:"topic"`
	TopicID      string     `json:"topic_id"`
	Partition    int32      `json:"partition"`
	Offset       int64      `json:"offset"`
	Timestamp    time.Time  `json:"timestamp"`
	SchemaID     int        `json:"schema_id,omitempty"`
	Trace        string     `json:"trace,omitempty"`
	// Reference reports that the letter holds only headers.
	Reference bool `json:"reference,omitempty"`
}

// Document returns what is known of the letter.
func (s *StoredLetter) Document() *LetterDocument {
	d := &LetterDocument{
		ID: s.ID, Target: s.Target, Class: s.Class, Error: s.Error, Attempts: s.Attempts,
		FirstAttempt: known(s.FirstAttempt), LastAttempt: known(s.LastAttempt), Written: s.Written.UTC(),
		Topic: s.Position.Topic, TopicID: s.Position.TopicID.String(), Partition: s.Position.Partition, Offset: s.Position.Offset,
		Timestamp: s.Timestamp, SchemaID: s.SchemaID, Trace: s.Trace, Reference: s.Reference,
	}
	if s.HasVersion {
		d.Version = &s.Version
	}
	if s.Original != nil && s.Original.Key != nil {
		key := string(s.Original.Key)
		d.Key = &key
	}
	return d
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// LetterView is a letter with its record as this config reads it.
type LetterView struct {
	*LetterDocument
	Resolution *receipt.Resolution `json:"resolution,omitempty"`
	// Headers are the original record's.
	Headers []Header        `json:"headers,omitempty"`
	Event   json.RawMessage `json:"event,omitempty"`
	// Delivered is false if routing would keep the event from the target now.
	Delivered *bool           `json:"delivered,omitempty"`
	Document  json.RawMessage `json:"document,omitempty"`
	// NotReadable says how far this config came with the record.
	NotReadable string `json:"not_readable,omitempty"`
}

// Show reads one letter, what became of it, and what would be sent of it now. Without a
// previewer, because open fails, it shows the letter all the same.
func (l *Letters) Show(ctx context.Context, id string, open func() (*Previewer, error)) (*LetterView, error) {
	letter, resolved, err := l.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	v := &LetterView{LetterDocument: letter.Document(), Resolution: resolved}
	original, err := l.Original(ctx, letter)
	if err != nil {
		v.NotReadable = err.Error()
		return v, nil //nolint:nilerr // the letter itself can be shown
	}
	if original.Key != nil && v.Key == nil {
		key := string(original.Key)
		v.Key = &key
	}
	p, err := open()
	if err != nil {
		v.NotReadable = err.Error()
		for _, h := range original.Headers {
			v.Headers = append(v.Headers, Header{h.Key, shown(h.Value)})
		}
		return v, nil
	}
	seen := p.View(ctx, original, letter.Target)
	v.Headers, v.Event, v.NotReadable = seen.Headers, seen.Event, seen.NotReadable
	if letter.Target == "" {
		return v, nil
	}
	for _, d := range seen.Documents {
		if d.Error != "" {
			v.NotReadable = d.Error
			continue
		}
		v.Delivered, v.Document = &d.Delivered, d.Document
	}
	return v, nil
}

// EventDocument is an event, decoded, as JSON; null for a tombstone.
func EventDocument(value *event.Object) (json.RawMessage, error) {
	if value == nil {
		return json.RawMessage("null"), nil
	}
	return event.JSON(value)
}
