package receipt

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
)

// ErrForeign reports a record of no kind that is known here: somebody else's, or one
// of a later release.
var ErrForeign = errors.New("record is of no known kind")

// ParseKey reads the key of a record on the receipts topic: its kind, the target
// (empty for a member and a letter), and the policy key, or the member's or letter's id.
func ParseKey(key []byte) (kind Kind, target, name string, err error) {
	first, rest, found := strings.Cut(string(key), "/")
	switch kind = Kind(first); kind {
	case KindMember, KindLetter:
		if found {
			return kind, "", rest, nil
		}
	case KindHeld, KindLast:
		// A target's name has no slash, a policy key may have.
		if target, name, found = strings.Cut(rest, "/"); found {
			return kind, target, name, nil
		}
	}
	return "", "", "", fmt.Errorf("read receipt key %q: %w", key, ErrForeign)
}

// PartitionKey returns the bytes that choose a record's partition: the policy key,
// so that all that is known of a policy lies in one. All members share one, and so
// do all letters.
func PartitionKey(key []byte) []byte {
	kind, rest, _ := bytes.Cut(key, []byte{'/'})
	switch Kind(kind) {
	case KindMember, KindLetter:
		return kind
	case KindHeld, KindLast:
	}
	_, policy, _ := bytes.Cut(rest, []byte{'/'})
	return policy
}

// document is the value of a held/ or last/ record.
type document struct {
	Outcome    string    `json:"outcome"`
	Time       time.Time `json:"time"`
	Attempts   int       `json:"attempts"`
	Topic      string    `json:"topic"`
	TopicID    topicID   `json:"topic_id"`
	Partition  int32     `json:"partition"`
	Offset     int64     `json:"offset"`
	Version    *int64    `json:"version,omitempty"`
	Deleted    bool      `json:"deleted,omitempty"`
	Trace      string    `json:"trace,omitempty"`
	Reference  string    `json:"reference,omitempty"`
	Superseded int       `json:"superseded,omitempty"`
	Class      string    `json:"class,omitempty"`
	Error      string    `json:"error,omitempty"`
	Letter     string    `json:"letter,omitempty"`
}

// MarshalJSON writes the value of the receipt's record.
func (r *Receipt) MarshalJSON() ([]byte, error) {
	return r.appendValue(make([]byte, 0, 384))
}

// appendValue appends the document of the receipt. Each delivery costs one, and
// encoding/json takes some five times the CPU and four times the allocations.
func (r *Receipt) appendValue(b []byte) ([]byte, error) {
	b = appendText(append(b, `{"outcome":`...), r.Outcome)
	b = append(b, `,"time":"`...)
	b, err := r.Time.UTC().AppendText(b)
	if err != nil {
		return nil, err
	}
	b = strconv.AppendInt(append(b, `","attempts":`...), int64(r.Attempts), 10)
	b = appendText(append(b, `,"topic":`...), r.Source.Topic)
	b = topicID(r.Source.TopicID).append(append(b, `,"topic_id":"`...))
	b = strconv.AppendInt(append(b, `","partition":`...), int64(r.Source.Partition), 10)
	b = strconv.AppendInt(append(b, `,"offset":`...), r.Source.Offset, 10)
	if r.HasVersion {
		b = strconv.AppendInt(append(b, `,"version":`...), r.Version, 10)
	}
	if r.Deleted {
		b = append(b, `,"deleted":true`...)
	}
	b = appendMember(b, `,"trace":`, r.Trace)
	b = appendMember(b, `,"reference":`, r.Reference)
	if r.Superseded != 0 {
		b = strconv.AppendInt(append(b, `,"superseded":`...), int64(r.Superseded), 10)
	}
	b = appendMember(b, `,"class":`, r.Class)
	b = appendMember(b, `,"error":`, r.Error)
	b = appendMember(b, `,"letter":`, r.Letter)
	return append(b, '}'), nil
}

// appendMember appends a member of a document, unless its text is empty.
func appendMember(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return appendText(append(b, name...), text)
}

// appendText appends text as a JSON string. What is not plain ASCII is left to
// encoding/json.
func appendText(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(text)
			if err != nil {
				panic(err) // a string can be written
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

// Encode returns the record that holds the receipt. It fails only if the time is of
// no year that RFC 3339 can write.
func (r *Receipt) Encode() (key, value []byte, err error) {
	key = []byte(string(r.Kind()) + "/" + r.Target + "/" + r.Key)
	if value, err = r.MarshalJSON(); err != nil {
		return nil, nil, fmt.Errorf("write receipt %q: %w", key, err)
	}
	return key, value, nil
}

// Decode reads a held/ or last/ record. Fields of a later release are passed over.
func Decode(key, value []byte) (*Receipt, error) {
	kind, target, policy, err := ParseKey(key)
	if err != nil {
		return nil, err
	}
	var d document
	if err := json.Unmarshal(value, &d); err != nil {
		return nil, fmt.Errorf("read receipt %q: %w", key, err)
	}
	r := &Receipt{
		Target: target, Key: policy, Outcome: d.Outcome, Time: d.Time, Attempts: d.Attempts,
		Source: event.Position{
			Topic: d.Topic, TopicID: event.TopicID(d.TopicID), Partition: d.Partition, Offset: d.Offset, LeaderEpoch: -1,
		},
		Deleted: d.Deleted, Trace: d.Trace, Reference: d.Reference, Superseded: d.Superseded,
		Class: d.Class, Error: d.Error, Letter: d.Letter,
	}
	if d.Version != nil {
		r.Version, r.HasVersion = *d.Version, true
	}
	if r.Kind() != kind || r.Outcome == "" {
		return nil, fmt.Errorf("read receipt %q: outcome %q does not belong under %s/", key, d.Outcome, kind)
	}
	return r, nil
}

// topicID is a topic id as JSON has it: a UUID.
type topicID event.TopicID

// append appends the id as a UUID.
func (id topicID) append(b []byte) []byte {
	for i, part := range [][]byte{id[0:4], id[4:6], id[6:8], id[8:10], id[10:16]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b
}

// UnmarshalText reads a UUID.
func (id *topicID) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "-", ""))
	if err != nil || len(b) != len(id) {
		return fmt.Errorf("topic id %q is not a UUID", text)
	}
	copy(id[:], b)
	return nil
}
