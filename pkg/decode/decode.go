// Package decode turns the bytes of a record into an event's value: it reads the
// framing, finds the writer's schema in the registry or a file, checks the bytes
// against it before anything is allocated for them, reads them by a plan of its own,
// unwraps unions, converts logical types and projects the value on the reader's
// schema where the topic has one.
//
// It also encodes, for trials and tests. It knows no field of any event, and it
// leaves to its caller what becomes of a record that cannot be decoded and how
// long to wait for a registry that does not answer.
package decode

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/hms-sme/policysync/pkg/event"
)

// Decoder decodes records. It is safe for concurrent use.
type Decoder struct {
	format   string
	registry *Registry                // nil with a file
	files    map[uint64]*event.Schema // writers' schemas from files, by fingerprint
	readers  map[string]*event.Schema // by topic
	programs programs
}

// New makes a decoder and reads the schema files that the config names. It does
// not speak to the registry. The client carries the registry's credentials; it is
// not used without a registry.
func New(cfg Config, client *http.Client) (*Decoder, error) {
	for _, m := range cfg.Validate() {
		return nil, fmt.Errorf("schemas.%s: %s", m.Path, m.Message)
	}
	d := &Decoder{format: cfg.Format, readers: map[string]*event.Schema{}}
	if cfg.Registry != nil {
		var err error
		if d.registry, err = NewRegistry(cfg.Registry.URL, client); err != nil {
			return nil, err
		}
	}
	if err := d.readFiles(cfg.File); err != nil {
		return nil, err
	}
	for topic, path := range cfg.Reader {
		s, err := readSchema(path)
		if err != nil {
			return nil, err
		}
		if err := check(s); err != nil {
			return nil, fmt.Errorf("read schema %q: %w", path, err)
		}
		d.readers[topic] = s
	}
	return d, nil
}

func (d *Decoder) readFiles(pattern string) error {
	if pattern == "" {
		return nil
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("find schema %q: %w", pattern, err)
	}
	if len(paths) == 0 {
		return fmt.Errorf("find schema %q: no such file", pattern)
	}
	if d.format == formatNone && len(paths) > 1 {
		return fmt.Errorf("find schema %q: %d files match, and format none needs to know which one", pattern, len(paths))
	}
	d.files = map[uint64]*event.Schema{}
	for _, path := range paths {
		s, err := readSchema(path)
		if err != nil {
			return err
		}
		if _, err := compile(s, s); err != nil {
			return fmt.Errorf("read schema %q: %w", path, err)
		}
		id := uint64(0)
		if d.format == formatSingleObject {
			id = fingerprint(s.Root)
		}
		d.files[id] = s
	}
	return nil
}

func readSchema(path string) (*event.Schema, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	s, err := event.ParseSchema(string(text))
	if err != nil {
		return nil, fmt.Errorf("read schema %q: %w", path, err)
	}
	return s, nil
}

// Decode returns the value of a record and the schema that describes it: the
// reader's where the topic has one, else the writer's. The record's value must not
// be null. Texts in the value are the record's bytes, not copies: they keep these in
// memory, and nobody may change them.
//
// An [*UndecodableError] means that no further attempt can help. With any other
// error, such as an [*UnavailableError], the record is not to blame.
func (d *Decoder) Decode(ctx context.Context, r *event.Record) (*event.Object, *event.Schema, error) {
	id, payload, err := unframe(d.format, r)
	if err != nil {
		return nil, nil, err
	}
	p, err := d.program(ctx, id, d.readers[r.Topic])
	if err != nil {
		return nil, nil, err
	}
	value, err := p.run(payload)
	if err != nil {
		return nil, nil, err
	}
	return value, p.schema, nil
}

// program finds how to decode what was written with one schema; reader is nil
// where the topic has none.
func (d *Decoder) program(ctx context.Context, id uint64, reader *event.Schema) (*program, error) {
	key := programKey{writer: id, reader: reader}
	if p := d.programs.get(key); p != nil {
		return p, p.err
	}
	writer, err := d.writer(ctx, id)
	if err != nil {
		return nil, err
	}
	if reader == nil {
		reader = writer
	}
	p, err := compile(writer, reader)
	if err != nil {
		p = &program{err: err}
	}
	d.programs.put(key, p)
	return p, p.err
}

func (d *Decoder) writer(ctx context.Context, id uint64) (*event.Schema, error) {
	if d.registry != nil {
		return d.registry.Schema(ctx, int(id))
	}
	if s := d.files[id]; s != nil {
		return s, nil
	}
	return nil, undecodable(UnknownSchema, "no schema file has the fingerprint %016x", id)
}

// Schemas returns the schemas that events of a topic can have, as far as they are
// known: the topic's reader schema, or the schema files, or every version of the
// subject <topic>-value in the registry. It returns none, and no error, if there
// is no such subject yet. Each is the very pointer that Decode returns.
func (d *Decoder) Schemas(ctx context.Context, topic string) ([]*event.Schema, error) {
	if s := d.readers[topic]; s != nil {
		return []*event.Schema{s}, nil
	}
	if d.registry != nil {
		return d.registry.Versions(ctx, topic+"-value")
	}
	var all []*event.Schema
	for _, id := range slices.Sorted(maps.Keys(d.files)) {
		all = append(all, d.files[id])
	}
	return all, nil
}

// Projects reports whether events of a topic are projected on a schema of the
// config's.
func (d *Decoder) Projects(topic string) bool { return d.readers[topic] != nil }

// CheckSchema tells whether records of a topic that were written with a schema could
// be decoded, and projected where the topic has a reader's schema.
func (d *Decoder) CheckSchema(topic string, writer *event.Schema) error {
	reader := d.readers[topic]
	if reader == nil {
		reader = writer
	}
	_, err := compile(writer, reader)
	return err
}

// Check asks the registry whether it is there and lets us in.
func (d *Decoder) Check(ctx context.Context) error {
	if d.registry == nil {
		return nil
	}
	return d.registry.Check(ctx)
}

// Registry is the decoder's registry, nil if schemas come from files.
func (d *Decoder) Registry() *Registry { return d.registry }

// Encoder returns an encoder for what [Decoder.Decode] reads from a topic, with the
// newest version of the subject <topic>-value, or with the schema file.
func (d *Decoder) Encoder(ctx context.Context, topic string) (*Encoder, error) {
	if d.registry == nil {
		if len(d.files) > 1 {
			return nil, fmt.Errorf("encode for topic %q: there is more than one schema file", topic)
		}
		for _, s := range d.files {
			return NewEncoder(d.format, s)
		}
	}
	versions, err := d.registry.Versions(ctx, topic+"-value")
	if err != nil {
		return nil, fmt.Errorf("encode for topic %q: %w", topic, err)
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("encode for topic %q: the registry has no subject %q", topic, topic+"-value")
	}
	return NewEncoder(d.format, versions[len(versions)-1])
}
