// Package folder is an example of a connector: it keeps each policy as a JSON file in
// a folder, for a site generator or a person to read. It needs the contract alone,
// github.com/hms-sme/policysync/pkg/connector, whose comments say what each method
// must do.
//
// A deleted policy leaves a file that says so: what was deleted does not come back
// when an older change arrives late.
package folder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Config is the part of a target that the connector reads. The keys that every target
// has are not its own.
type Config struct {
	Path string          `yaml:"path" required:"true"`
	Map  *connector.Tree `yaml:"map" required:"true"`
}

// ChecksVersions implements [connector.Guard]: old versions may be sent again.
func (*Config) ChecksVersions() bool { return true }

// Kind is what the registry of a binary needs.
func Kind() connector.Kind { return connector.KindOf(New) }

// Folder is the connector. Its config is all it has: no connection to keep.
type Folder struct{ config *Config }

// New makes the connector. The folder may come later.
func New(_ context.Context, cfg *Config, _ connector.Env) (connector.Connector, error) {
	return &Folder{cfg}, nil
}

// File is what a file holds: the document, and which change it is of.
type File struct {
	Key     string          `json:"key"`
	Deleted bool            `json:"deleted,omitempty"`
	Version *int64          `json:"version,omitempty"` // the event's own
	Log     string          `json:"log"`               // where offsets compare
	Offset  int64           `json:"offset"`
	Content json.RawMessage `json:"content,omitempty"`
}

// MarshalJSON prints the file also for `policysync map`.
func (f *File) MarshalJSON() ([]byte, error) {
	type plain File // without this method
	return json.Marshal((*plain)(f))
}

// Prepare makes the file from the event. What fails here is this event's fault.
func (f *Folder) Prepare(d *connector.Delivery) error {
	at := d.Event.Position
	file := &File{
		Key: d.Key, Deleted: d.Op == connector.Delete,
		Log: fmt.Sprintf("%s/%d", at.TopicID, at.Partition), Offset: at.Offset,
	}
	if d.Version.Known && !d.Version.ByOffset {
		file.Version = &d.Version.Value
	}
	if !file.Deleted {
		value, err := f.config.Map.Eval(connector.Scope{Event: d.Event})
		if err != nil {
			return err
		}
		if file.Content, err = json.Marshal(value); err != nil {
			return fmt.Errorf("write content: %w", err)
		}
	}
	d.Document = file
	return nil
}

// Push replaces the policy's file, unless that is of a newer change. The new one
// appears whole or not at all. A disk that fails does so for every policy alike, so
// no error here is the policy's.
func (f *Folder) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	file, ok := d.Document.(*File)
	if !ok {
		return connector.Receipt{}, fmt.Errorf("push %q: the delivery was not prepared", d.ID)
	}
	if err := ctx.Err(); err != nil {
		return connector.Receipt{}, connector.AsUnavailable(err)
	}
	path := filepath.Join(f.config.Path, url.PathEscape(d.Key)+".json")
	held, err := read(path)
	switch {
	case err != nil:
		return connector.Receipt{}, connector.AsUnavailable(err)
	case held != nil && held.newerThan(file):
		return connector.Receipt{Stale: true}, nil
	}
	if err := write(path, file); err != nil {
		return connector.Receipt{}, connector.AsUnavailable(err)
	}
	return connector.Receipt{Reference: path}, nil
}

// newerThan compares versions where both have one. A delete has none: then offsets
// tell, within one partition. The same change may be written again.
func (f *File) newerThan(next *File) bool {
	if f.Version != nil && next.Version != nil {
		return *f.Version > *next.Version
	}
	return f.Log == next.Log && f.Offset > next.Offset
}

// read returns the file at path, nil if there is none.
func read(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := &File{}
	if err := json.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return f, nil
}

// write puts the file on the disk before it takes the place of the one before.
func write(path string, file *File) (err error) {
	text, err := json.Marshal(file)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary.Name()))
		}
	}()
	_, err = temporary.Write(append(text, '\n'))
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// Check reports whether the folder is there.
func (f *Folder) Check(context.Context) error {
	_, err := os.ReadDir(f.config.Path)
	return err
}

// Close has nothing to release.
func (*Folder) Close(context.Context) error { return nil }
