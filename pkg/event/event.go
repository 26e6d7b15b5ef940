// Package event holds the values that travel through policysync: the record as
// Kafka gave it, the event decoded from it, the Avro schema that describes it
// and the values inside it.
//
// It owns no behaviour beyond reading and printing those values, and it imports
// nothing else of this module, so that every other package can depend on it.
package event

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// TopicID is Kafka's identity of a topic (KIP-516). A topic that is deleted and
// created again under its old name has another one, so offsets of the two never
// compare.
type TopicID [16]byte

// String prints the id as a UUID.
func (id TopicID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}

// Position names one record: where it lies in Kafka.
type Position struct {
	Topic     string
	TopicID   TopicID
	Partition int32
	Offset    int64
	// LeaderEpoch is the epoch of the leader that wrote the record, -1 if unknown.
	LeaderEpoch int32
}

// String prints topic/partition/offset.
func (p Position) String() string {
	return fmt.Sprintf("%s/%d/%d", p.Topic, p.Partition, p.Offset)
}

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is what Kafka holds at a position: bytes, not yet understood.
type Record struct {
	Position
	// Key is nil if the record has none.
	Key []byte
	// Value is nil on a tombstone.
	Value     []byte
	Headers   []Header
	Timestamp time.Time
}

// Header returns the last value of the named header, or nil.
func (r *Record) Header(name string) []byte {
	for _, h := range slices.Backward(r.Headers) {
		if h.Key == name {
			return h.Value
		}
	}
	return nil
}

// Clone copies the record and its bytes, out of all that was fetched with it.
func (r *Record) Clone() *Record {
	c := *r
	own := make([]byte, 0, len(r.Key)+len(r.Value))
	if r.Key != nil {
		own = append(own, r.Key...)
		c.Key = slices.Clip(own)
	}
	if r.Value != nil {
		own = append(own, r.Value...)
		c.Value = own[len(r.Key):]
	}
	c.Headers = slices.Clone(r.Headers)
	for i, h := range c.Headers {
		c.Headers[i] = Header{strings.Clone(h.Key), bytes.Clone(h.Value)}
	}
	return &c
}

// Size is the number of bytes that the record keeps in memory, roughly.
func (r *Record) Size() int {
	n := len(r.Key) + len(r.Value) + 128
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// Event is the decoded change: the record, its value projected on the reader
// schema where one is set, and what the `event` section of the config read from
// it. An Event is immutable once made: lanes of all targets share it.
type Event struct {
	*Record
	// ID is the event's own id, empty if the schema has none.
	ID string
	// Type is the event's own type, such as "policyCreated", empty if it has none.
	Type string
	// Key is the policy key: what order is promised for. It is the record's key
	// as text unless the config gives an expression; empty with HasKey false if
	// the record has none.
	Key    string
	HasKey bool
	// Version is the event's own version and only meaningful if HasVersion.
	Version    int64
	HasVersion bool
	// Targets are the targets that the event names; empty means all of them.
	Targets []string
	// Value is the decoded value, nil on a tombstone.
	Value *Object
	// Schema describes Value, nil on a tombstone.
	Schema *Schema
}

// eventSize is what an event and one delivery of it take beside the record's bytes and
// the decoded value. The benchmark of waiting deliveries measures it.
const eventSize = 1200

// Size is the number of bytes that one waiting delivery of the event keeps in memory,
// roughly. Deliveries to several targets share most of it.
func (e *Event) Size() int { return e.Record.Size() + eventSize + valueSize(e.Value) }

// valueSize is what a value takes beside its text, which is the record's, but for bytes
// that are read as a string.
func valueSize(v any) int {
	const box, slot = 24, 16 // what an interface points at, and the interface
	n := 0
	switch v := v.(type) {
	case *Object:
		if v == nil {
			return 0
		}
		n = 48 + slot*len(v.Values)
		for _, x := range v.Values {
			n += valueSize(x)
		}
	case []any:
		n = box + slot*len(v)
		for _, x := range v {
			n += valueSize(x)
		}
	case map[string]any:
		for _, x := range v {
			n += 64 + valueSize(x)
		}
	case []byte:
		n = box + len(v)
	case nil, bool:
	default:
		n = box
	}
	return n
}

// Tombstone reports whether the record's value is null: the key was deleted.
func (e *Event) Tombstone() bool { return e.Record.Value == nil }
