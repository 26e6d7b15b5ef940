package deadletter

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
)

// ErrNoLetter reports a record that somebody else wrote to the topic.
var ErrNoLetter = errors.New("record is no dead letter")

// Decode reads a record of the dead-letter topic: the letter, and the original
// record, which shares the bytes of r; nil if the letter is only a reference. Its
// error is [ErrNoLetter], or names the header that cannot be read.
func Decode(r *event.Record) (Letter, *event.Record, error) {
	start := len(r.Headers) - 1
	for start >= 0 && r.Headers[start].Key != headerID {
		start--
	}
	if start < 0 {
		return Letter{}, nil, fmt.Errorf("read dead letter %s: %w", r.Position, ErrNoLetter)
	}
	h := reader{headers: r.Headers[start:]}
	l := Letter{
		ID:           h.text(headerID),
		Target:       h.text(headerTarget),
		Class:        h.text(headerClass),
		Error:        h.text(headerError),
		Attempts:     int(h.number(headerAttempts, 32)),
		FirstAttempt: h.time(headerFirstAttempt),
		LastAttempt:  h.time(headerLastAttempt),
		Position: event.Position{
			Topic:       h.text(headerTopic),
			TopicID:     h.topicID(headerTopicID),
			Partition:   int32(h.number(headerPartition, 32)),
			Offset:      h.number(headerOffset, 64),
			LeaderEpoch: -1,
		},
		Timestamp:  time.UnixMilli(h.number(headerTimestamp, 64)).UTC(),
		SchemaID:   int(h.optional(headerSchemaID, 32)),
		Version:    h.optional(headerVersion, 64),
		HasVersion: h.has(headerVersion),
		Trace:      h.text(headerTrace),
	}
	switch content := h.text(headerContent); content {
	case contentReference:
		l.Reference = true
	case contentFull:
	default:
		h.fail(headerContent, errors.New("neither full nor reference"))
	}
	if h.err != nil {
		return Letter{}, nil, fmt.Errorf("read dead letter %s: %w", r.Position, h.err)
	}
	if l.Reference {
		return l, nil, nil
	}
	return l, &event.Record{
		Position:  l.Position,
		Key:       r.Key,
		Value:     r.Value,
		Headers:   r.Headers[:start:start],
		Timestamp: l.Timestamp,
	}, nil
}

// reader reads a letter's own headers and keeps the first error.
type reader struct {
	headers []event.Header
	err     error
}

func (h *reader) has(name string) bool {
	return slices.ContainsFunc(h.headers, func(x event.Header) bool { return x.Key == name })
}

func (h *reader) text(name string) string {
	for _, x := range h.headers {
		if x.Key == name {
			return string(x.Value)
		}
	}
	return ""
}

func (h *reader) number(name string, bits int) int64 {
	n, err := strconv.ParseInt(h.text(name), 10, bits)
	if err != nil {
		h.fail(name, errors.New("not a number that fits"))
	}
	return n
}

func (h *reader) optional(name string, bits int) int64 {
	if !h.has(name) {
		return 0
	}
	return h.number(name, bits)
}

func (h *reader) time(name string) time.Time {
	if !h.has(name) {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, h.text(name))
	if err != nil {
		h.fail(name, errors.New("not a time in RFC 3339"))
	}
	return t.UTC()
}

func (h *reader) topicID(name string) (id event.TopicID) {
	b, err := hex.DecodeString(strings.ReplaceAll(h.text(name), "-", ""))
	if err != nil || len(b) != len(id) {
		h.fail(name, errors.New("not a UUID"))
	}
	copy(id[:], b)
	return id
}

func (h *reader) fail(name string, err error) {
	if h.err == nil {
		h.err = fmt.Errorf("header %s: %q: %w", name, h.text(name), err)
	}
}
