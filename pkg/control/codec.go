package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxID bounds the bytes of a command's id: commits carry it while a lane replays.
const MaxID = 36

var kinds = []Kind{KindPause, KindAccept, KindReplay, KindRedrive, KindPush, KindDone}

func key(kind Kind, name string) []byte { return []byte(string(kind) + "/" + name) }

// Encode returns the record that holds r.
func Encode(r Record) (k, value []byte, err error) {
	k = r.Key()
	if value, err = json.Marshal(r); err != nil {
		return nil, nil, fmt.Errorf("write %s: %w", k, err)
	}
	return k, value, nil
}

// ErrUnknown reports a kind of record that this release does not know. A later one
// wrote it, and only members of that obey it.
var ErrUnknown = errors.New("unknown kind of control record")

// ParseKey returns the kind of a record, and the target or command id that it is about.
func ParseKey(k []byte) (kind Kind, name string, err error) {
	before, name, ok := strings.Cut(string(k), "/")
	switch kind = Kind(before); {
	case !ok || name == "":
		return "", "", fmt.Errorf("read control record: key %q is not KIND/NAME", k)
	case !slices.Contains(kinds, kind):
		return "", "", fmt.Errorf("read control record %q: %w", k, ErrUnknown)
	}
	return kind, name, nil
}

// Decode reads a record that is no tombstone. Fields of a later release are passed over.
func Decode(k, value []byte) (Record, error) {
	kind, name, err := ParseKey(k)
	if err != nil {
		return nil, err
	}
	r := blank(kind, name)
	if err := json.Unmarshal(value, r); err != nil {
		return nil, fmt.Errorf("read control record %q: %w", k, err)
	}
	if event, ok := r.(interface{ check() error }); ok {
		if err := event.check(); err != nil {
			return nil, fmt.Errorf("read control record %q: %w", k, err)
		}
	}
	return r, nil
}

// Absent is what a tombstone says: the record that means as much as none.
func Absent(k []byte) (Record, error) {
	kind, name, err := ParseKey(k)
	if err != nil {
		return nil, err
	}
	return blank(kind, name), nil
}

func blank(kind Kind, name string) Record {
	switch kind {
	case KindPause:
		return &Pause{Target: name}
	case KindAccept:
		return &Accept{Target: name}
	case KindReplay:
		return &Replay{ID: name}
	case KindRedrive:
		return &Redrive{ID: name}
	case KindPush:
		return &Push{ID: name}
	case KindDone:
		return &Done{ID: name}
	}
	return nil
}

func checkID(id string) error {
	if len(id) > MaxID {
		return fmt.Errorf("command id is longer than %d bytes", MaxID)
	}
	return nil
}

func (r *Replay) check() error {
	if r.Target == "" {
		return errors.New("replay names no target")
	}
	for _, g := range r.Ranges {
		if g.From < 0 || g.To != nil && *g.To < g.From {
			return fmt.Errorf("%s/%d: no range of offsets", g.Topic, g.Partition)
		}
	}
	return checkID(r.ID)
}

func (r *Redrive) check() error {
	if r.UpTo == nil {
		return errors.New("redrive does not say up to where")
	}
	return checkID(r.ID)
}

func (p *Push) check() error {
	if p.Target == "" || p.Offset < 0 {
		return errors.New("push names no target or no record")
	}
	return checkID(p.ID)
}
