package decode

import "fmt"

// Reason says in a word why bytes are no event. It is a closed set, fit for a
// metric's label and a dead letter's header.
type Reason string

// The reasons why a record cannot be decoded.
const (
	// Framing: the bytes do not begin as the configured format does.
	Framing Reason = "framing"
	// UnknownSchema: the registry, or the files, do not have the schema that the
	// bytes name.
	UnknownSchema Reason = "unknown_schema"
	// BadSchema: the writer's schema is not Avro, or not a record.
	BadSchema Reason = "bad_schema"
	// Projection: the writer's schema cannot be read as the reader's.
	Projection Reason = "projection"
	// Malformed: the bytes do not follow the schema: cut short, too long, or a
	// value that the schema does not allow.
	Malformed Reason = "malformed"
	// Oversized: decoding would take memory or stack out of proportion.
	Oversized Reason = "oversized"
	// Value: a value of the writer's has no place in the reader's schema.
	Value Reason = "value"
)

// UndecodableError reports bytes that no further attempt can decode: the record
// is a dead letter.
type UndecodableError struct {
	Reason Reason
	Err    error
}

func (e *UndecodableError) Error() string { return "decode: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UndecodableError) Unwrap() error { return e.Err }

func undecodable(reason Reason, format string, args ...any) error {
	return &UndecodableError{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// UnavailableError reports that the registry was asked and did not answer, or
// would not let us in. It says nothing about the record: pause and ask again.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string { return "ask schema registry: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }
