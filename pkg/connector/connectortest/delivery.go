package connectortest

import (
	"fmt"
	"sync"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// BadTitle is a title that an external system of the suite may refuse, by a
// constraint or a rule of its own.
const BadTitle = "refused by the target"

// Schema returns the schema of the suite's events: a record with the fields id
// (string, the policy key), title (string) and version (long). It is always the
// same pointer.
var Schema = sync.OnceValue(func() *event.Schema {
	s, err := event.ParseSchema(`{"type": "record", "name": "Record", "fields": [
		{"name": "id", "type": "string"},
		{"name": "title", "type": "string"},
		{"name": "version", "type": "long"}]}`)
	if err != nil {
		panic(err) // the text above is at fault
	}
	return s
})

// change is what a case wants to happen to a key. Its version is also its offset,
// so that the two orders agree.
type change struct {
	key     string
	version int64
	title   string
	deleted bool
	// replay marks a change that is sent again on purpose: it has an idempotency
	// key of its own.
	replay string
}

// record is what the external system holds once the change is applied.
func (c change) record() Record { return Record{Title: c.title, Version: c.version} }

func upsert(key string, version int64) change {
	return change{key: key, version: version, title: fmt.Sprintf("%s, version %d", key, version)}
}

func tombstone(key string, version int64) change {
	return change{key: key, version: version, deleted: true}
}

// delivery makes what the engine would push for a change, prepared.
func (s *trial) delivery(c change) (*connector.Delivery, error) {
	e := &event.Event{
		Record: &event.Record{
			Position: event.Position{
				Topic: "records", TopicID: event.TopicID{1}, Offset: c.version, LeaderEpoch: -1,
			},
			Key:       []byte(c.key),
			Timestamp: time.UnixMilli(1_750_000_000_000 + c.version).UTC(),
		},
		Key: c.key, HasKey: true,
	}
	d := &connector.Delivery{
		ID:     fmt.Sprintf("records-0-%d-%s%s", c.version, c.key, c.replay),
		Target: "suite", Key: c.key, Op: connector.Delete, Event: e, Attempt: 1,
	}
	if !c.deleted {
		e.Record.Value = []byte{0}
		e.Value = &event.Object{
			Names: []string{"id", "title", "version"}, Values: []any{c.key, c.title, c.version},
		}
		e.Schema, e.Version, e.HasVersion = Schema(), c.version, true
		d.Op, d.Version = connector.Upsert, connector.Version{Value: c.version, Known: true}
	}
	if p, ok := s.Connector.(connector.Preparer); ok {
		if err := p.Prepare(d); err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
	}
	return d, nil
}
