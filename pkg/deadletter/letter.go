// Package deadletter is the format of the records that hold undeliverable
// deliveries: the original record's key and value, byte for byte, and headers
// that say what became of it. docs/dead-letters.md describes them for operators.
//
// The package is pure. When a delivery is given up is for package delivery to
// say; writing the record and waiting for the broker is package kafka's part.
package deadletter

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hms-sme/policysync/pkg/event"
)

// Letter is what is known about a delivery, or a whole record, that was given up.
type Letter struct {
	// ID is topic id/partition/offset of the source, and /target unless the record
	// as a whole is at fault. Two letters of one id are one letter, written twice.
	ID string
	// Target is empty if the record as a whole is at fault: it could not be decoded.
	Target string
	// Class is that of the last error (see connector.Class).
	Class string
	// Error is the text of the last error. Encode cuts it to [MaxError] bytes.
	Error string
	// Attempts is how many were made; 0 if it never came to one.
	Attempts int
	// FirstAttempt and LastAttempt are when they began; zero if there were none.
	FirstAttempt, LastAttempt time.Time
	// Position is where the original record lies. Its LeaderEpoch is not kept:
	// Decode gives -1.
	Position event.Position
	// Timestamp is the original record's, to the millisecond.
	Timestamp time.Time
	// SchemaID is the registry's id of the schema of the value, 0 if it has none.
	SchemaID int
	// Version is the event's own version and only meaningful if HasVersion.
	Version    int64
	HasVersion bool
	// Trace is the trace id of the delivery, empty if it was not traced.
	Trace string
	// Reference reports that the letter holds only headers: the record itself must
	// be read at Position. Decode sets it; Encode decides by itself.
	Reference bool
}

// MaxError is the number of bytes of an error's text that a letter keeps, so that
// a letter without content fits in any topic.
const MaxError = 4096

// bounded returns text as valid UTF-8 of at most MaxError bytes.
func bounded(text string) string {
	const mark = "…"
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= MaxError {
		return text
	}
	end := MaxError - len(mark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}
