package decode

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/hms-sme/policysync/pkg/event"
)

// program is how bytes of one writer's schema become values of one reader's. It is
// compiled once and safe for concurrent use.
type program struct {
	writer *event.Schema
	schema *event.Schema // of what run returns
	read   read
	// codec and convert do the same by goavro. Tests hold read against them.
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
	p := planner{resolver: &r, records: map[pair]*recordRead{}}
	read, err := p.plan(writer.Root, reader.Root)
	if err != nil {
		return nil, &UndecodableError{Reason: Projection, Err: fmt.Errorf("read schema %d: %w", writer.ID, err)}
	}
	return &program{writer: writer, schema: reader, read: read, codec: c, convert: convert}, nil
}

// check reports what would keep a schema from being a reader's: beside what compile
// finds, a default that is no value of its field.
func check(reader *event.Schema) error {
	if _, err := compile(reader, reader); err != nil {
		return err
	}
	c, err := newCodec(reader.Root)
	if err != nil {
		return err
	}
	r := resolver{branch: c.branch, records: map[pair]*recordPlan{}, all: true}
	_, err = r.root(reader.Root, reader.Root)
	return err
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
	text := unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // an event's bytes never change
	v, err := p.read(&input{b: b, text: text})
	switch {
	case errors.Is(err, errDuplicate):
		return nil, &UndecodableError{Reason: Malformed, Err: err}
	case err != nil:
		return nil, &UndecodableError{Reason: Value, Err: err}
	}
	return as[*event.Object](v), nil
}
