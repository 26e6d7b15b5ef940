package app

import (
	"encoding/json"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
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

// EventDocument is an event, decoded, as JSON; null for a tombstone.
func EventDocument(value *event.Object) (json.RawMessage, error) {
	if value == nil {
		return json.RawMessage("null"), nil
	}
	return event.AppendJSON(nil, value)
}
