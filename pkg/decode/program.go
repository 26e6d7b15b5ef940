package decode

import (
	"fmt"

	"github.com/hms-sme/policysync/pkg/event"
)

// program is how bytes of one writer's schema become values of one reader's. It is
// compiled once and safe for concurrent use.
type program struct {
	writer  *event.Schema
	schema  *event.Schema // of what run returns
	codec   codec
	convert convert
	// err is set, and nothing else, if there is no such program.
	err error
}

func compile(writer, reader *event.Schema) (*program, error) {
	if reader.Root.Kind != event.Rec {
		return nil, undecodable(BadSchema, "an event is a record, but the schema is %s", describe(reader.Root))
	}
	c, err := newCodec(writer.Root)
	if err != nil {
		return nil, &UndecodableError{Reason: BadSchema, Err: err}
	}
	r := resolver{branch: c.branch, records: map[pair]*recordPlan{}}
	convert, err := r.root(writer.Root, reader.Root)
	if err != nil {
		return nil, &UndecodableError{Reason: Projection, Err: fmt.Errorf("read schema %d: %w", writer.ID, err)}
	}
	return &program{writer: writer, schema: reader, codec: c, convert: convert}, nil
}

func (p *program) run(b []byte) (value *event.Object, err error) {
	if err := guard(p.writer.Root, b); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			err = undecodable(Malformed, "decode value: %v", r)
		}
	}()
	native, _, err := p.codec.NativeFromBinary(b)
	if err != nil {
		return nil, &UndecodableError{Reason: Malformed, Err: err}
	}
	v, err := p.convert.apply(native)
	if err != nil {
		return nil, &UndecodableError{Reason: Value, Err: err}
	}
	return v.(*event.Object), nil
}
