package deadletter

import (
	"slices"
	"strconv"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
)

// Prefix begins the names of all headers that a letter adds.
const Prefix = "policysync."

// The headers of a letter, in their order. headerID comes first: where its last
// occurrence is, the original's headers end.
const (
	headerID           = Prefix + "id"
	headerTarget       = Prefix + "target"
	headerClass        = Prefix + "class"
	headerError        = Prefix + "error"
	headerAttempts     = Prefix + "attempts"
	headerFirstAttempt = Prefix + "first-attempt"
	headerLastAttempt  = Prefix + "last-attempt"
	headerTopic        = Prefix + "source.topic"
	headerTopicID      = Prefix + "source.topic-id"
	headerPartition    = Prefix + "source.partition"
	headerOffset       = Prefix + "source.offset"
	headerTimestamp    = Prefix + "source.timestamp"
	headerSchemaID     = Prefix + "schema-id"
	headerVersion      = Prefix + "version"
	headerTrace        = Prefix + "trace"
	headerContent      = Prefix + "content"
)

// What headerContent says.
const (
	contentFull      = "full"
	contentReference = "reference"
)

// Encode returns the record that holds the letter: the key and value of the
// original, which it does not copy, and the original's headers followed by the
// letter's own. If that is more than maxBytes, the largest batch that the topic
// takes, it returns the letter's own headers alone, as a reference to the source;
// maxBytes 0 makes every letter a reference.
func Encode(l Letter, original *event.Record, maxBytes int) (key, value []byte, headers []event.Header) {
	full := slices.Concat(original.Headers, own(l, contentFull))
	if size(original.Key, original.Value, full) > maxBytes {
		return nil, nil, own(l, contentReference)
	}
	return original.Key, original.Value, full
}

func own(l Letter, content string) []event.Header {
	hs := make([]event.Header, 0, 16)
	add := func(name, value string) {
		hs = append(hs, event.Header{Key: name, Value: []byte(value)})
	}
	addTime := func(name string, t time.Time) {
		if !t.IsZero() {
			add(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	add(headerID, l.ID)
	if l.Target != "" {
		add(headerTarget, l.Target)
	}
	add(headerClass, l.Class)
	add(headerError, bounded(l.Error))
	add(headerAttempts, strconv.Itoa(l.Attempts))
	addTime(headerFirstAttempt, l.FirstAttempt)
	addTime(headerLastAttempt, l.LastAttempt)
	add(headerTopic, l.Position.Topic)
	add(headerTopicID, l.Position.TopicID.String())
	add(headerPartition, strconv.Itoa(int(l.Position.Partition)))
	add(headerOffset, strconv.FormatInt(l.Position.Offset, 10))
	// The producer chose it, so it may be a year that RFC 3339 cannot write.
	add(headerTimestamp, strconv.FormatInt(l.Timestamp.UnixMilli(), 10))
	if l.SchemaID != 0 {
		add(headerSchemaID, strconv.Itoa(l.SchemaID))
	}
	if l.HasVersion {
		add(headerVersion, strconv.FormatInt(l.Version, 10))
	}
	if l.Trace != "" {
		add(headerTrace, l.Trace)
	}
	add(headerContent, content)
	return hs
}

// size bounds the bytes of a batch of one record (Kafka's message format v2):
// 61 of the batch, and varints of at most 5 bytes but for the time's 10.
func size(key, value []byte, headers []event.Header) int {
	n := 61 + 1 + 5*5 + 10 + len(key) + len(value)
	for _, h := range headers {
		n += 5 + len(h.Key) + 5 + len(h.Value)
	}
	return n
}
