package decode

import (
	"fmt"

	"github.com/hms-sme/policysync/pkg/event"
)

// Encoder makes records' values from plain JSON, for trials and tests. It is safe
// for concurrent use.
type Encoder struct {
	schema *event.Schema
	codec  codec
	header []byte
}

// NewEncoder returns an encoder for one schema. The format is as in [Config]; for
// "confluent" the schema must have come from a registry, so that it has an id.
func NewEncoder(format string, schema *event.Schema) (*Encoder, error) {
	var id uint64
	switch format {
	case formatConfluent:
		if id = uint64(schema.ID); id == 0 {
			return nil, fmt.Errorf("encode: format %s needs a schema with a registry's id", format)
		}
	case formatSingleObject:
		id = fingerprint(schema.Root)
	case formatNone:
	default:
		return nil, fmt.Errorf("encode: unknown format %q", format)
	}
	c, err := newCodec(schema.Root)
	if err != nil {
		return nil, err
	}
	return &Encoder{schema: schema, codec: c, header: frame(format, id)}, nil
}

// Encode reads one value in the form that [event.AppendJSON] writes: unions
// unwrapped, bytes in base64, decimals, dates and times as text; a decimal may be
// a number too. A union takes the first branch that the value fits. A field that
// is left out takes its default.
func (e *Encoder) Encode(text []byte) ([]byte, error) {
	native, err := fromJSON{branch: e.codec.branch}.text(e.schema.Root, text)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	b, err := e.codec.BinaryFromNative(append([]byte(nil), e.header...), native)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b, nil
}
