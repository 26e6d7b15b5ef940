// Package file is the connector that appends to a local file: one line of JSON per
// delivery, on disk before the push succeeds.
//
//	{"id": …, "op": "upsert", "key": …, "version": 3, "document": {…}}
//
// A delivery that comes back, as after a crash, is appended again under its id:
// readers fold repeats by id, and fold by key for the present state. The line that
// a crash cut short is ended by the next append and is not JSON: skip it.
package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// Config is the part of a target that connector file reads.
type Config struct {
	// Path is the file. Its directory must exist. It is opened for each append, so
	// that it can be rotated by renaming it.
	Path string `yaml:"path" required:"true"`
	// Map makes the document; without it the document is the whole event.
	Map *connector.Tree `yaml:"map"`
}

// Connector appends to a file. It is a [connector.Preparer], a
// [connector.Checker] and a [connector.OrderedBatch].
type Connector struct {
	path string
	tree *connector.Tree
	// turn is held by the one append under way. It is a channel so that a push
	// whose context ends need not wait for the disk.
	turn chan struct{}
	// closed ends the pushes that wait for their turn.
	closed chan struct{}
}

var errClosed = errors.New("connector is closed")

// Kind returns the kind of this connector. It batches by default: one append to
// disk then serves many deliveries.
func Kind() connector.Kind {
	k := connector.KindOf(New)
	k.BatchSize, k.BatchLinger = 100, 5*time.Millisecond
	return k
}

// New makes the connector. It does not touch the file.
func New(_ context.Context, cfg *Config, _ connector.Env) (connector.Connector, error) {
	return &Connector{
		path: cfg.Path, tree: cfg.Map, turn: make(chan struct{}, 1), closed: make(chan struct{}),
	}, nil
}

// Prepare makes the line, which is the delivery's document.
func (c *Connector) Prepare(d *connector.Delivery) error {
	line := &event.Object{
		Names: []string{"id", "op", "key"}, Values: []any{d.ID, string(d.Op), d.Key},
	}
	if d.Version.Known {
		line.Add("version", d.Version.Value)
	}
	if d.Op == connector.Upsert {
		var document any = d.Event.Value
		if !c.tree.IsZero() {
			var err error
			if document, err = c.tree.Eval(connector.Scope{Event: d.Event}); err != nil {
				return err
			}
		}
		line.Add("document", document)
	}
	text, err := event.JSON(line)
	if err != nil {
		return fmt.Errorf("write line: %w", err)
	}
	d.Document = json.RawMessage(text)
	return nil
}

// Push appends one line.
func (c *Connector) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	return connector.Receipt{}, c.append(ctx, []*connector.Delivery{d})
}

// PushBatch appends the lines of all deliveries, or none.
func (c *Connector) PushBatch(ctx context.Context, ds []*connector.Delivery) []connector.Result {
	if err := c.append(ctx, ds); err != nil {
		return connector.FailAll(len(ds), err)
	}
	return make([]connector.Result, len(ds))
}

// AppliesBatchInOrder marks the connector as a [connector.OrderedBatch].
func (c *Connector) AppliesBatchInOrder() {}

func (c *Connector) append(ctx context.Context, ds []*connector.Delivery) error {
	var lines []byte
	for _, d := range ds {
		text, ok := d.Document.(json.RawMessage)
		if !ok {
			return fmt.Errorf("append %q: the delivery was not prepared", d.ID)
		}
		lines = append(append(lines, text...), '\n')
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-c.closed:
		return connector.AsUnavailable(errClosed)
	case <-ctx.Done():
		return connector.AsUnavailable(fmt.Errorf("wait for the file: %w", ctx.Err()))
	}
	if err := c.write(lines); err != nil {
		return connector.AsUnavailable(fmt.Errorf("append to file: %w", err))
	}
	return nil
}

// write appends lines and waits until the disk has them. What it could write of
// them before an error it takes back.
func (c *Connector) write(lines []byte) (err error) {
	f, err := os.OpenFile(c.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644) //nolint:gosec // others come to read it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size == 0 {
		err = syncDirectory(filepath.Dir(c.path))
	} else {
		lines, err = afterTornLine(f, size, lines)
	}
	if err != nil {
		return err
	}
	if _, err = f.Write(lines); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Truncate(size))
	}
	return nil
}

// afterTornLine begins a new line if the last one has no end.
func afterTornLine(f io.ReaderAt, size int64, lines []byte) ([]byte, error) {
	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil {
		return nil, err
	}
	if last[0] != '\n' {
		lines = append([]byte{'\n'}, lines...)
	}
	return lines, nil
}

// syncDirectory makes a new file survive a crash: its name is the directory's.
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Check reports whether the file's directory is there.
func (c *Connector) Check(context.Context) error {
	if _, err := os.Stat(filepath.Dir(c.path)); err != nil {
		return fmt.Errorf("check the file's directory: %w", err)
	}
	return nil
}

// Close ends the pushes that wait for their turn. No file is left open.
func (c *Connector) Close(context.Context) error {
	close(c.closed)
	return nil
}
