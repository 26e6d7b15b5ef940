// Package control is the format of the records by which operators tell the members of
// a group what to do: what state a target is in, and what is to be done once. The
// control topic is compacted and has one partition, so its order is the order in which
// commands are obeyed. docs/operations.md describes the records for operators.
//
// The package is pure. Obeying a command is for package delivery to say; writing
// records and following the topic is package kafka's part.
package control

import (
	"time"

	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/event"
)

// Kind begins the key of a record on the control topic.
type Kind string

// The kinds of records.
const (
	// KindPause is pause/TARGET: whether the target is paused. It is state: the last
	// record holds until the next.
	KindPause Kind = "pause"
	// KindAccept is accept/TARGET: up to when the target's dead letters are accepted. It
	// is state too.
	KindAccept Kind = "accept"
	// KindReplay is replay/ID: an event, obeyed once by the owner of each partition, and
	// deleted once all have.
	KindReplay Kind = "replay"
	// KindRedrive is redrive/ID: what is left of it are its unresolved letters. It is
	// deleted once there are none.
	KindRedrive Kind = "redrive"
	// KindPush is push/ID: the owner of the record's partition deletes it when it has
	// obeyed.
	KindPush Kind = "push"
	// KindDone is done/ID: what somebody has done that no other record tells. Nobody obeys
	// it; it stays.
	KindDone Kind = "done"
)

// Origin says who gave a command, when and why.
type Origin struct {
	By     string    `json:"by"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason,omitempty"`
}

// Record is one of [*Pause], [*Accept], [*Replay], [*Redrive], [*Push] and [*Done].
type Record interface {
	// Key is the key of the record on the topic.
	Key() []byte
}

// Pause is whether a target is paused.
type Pause struct {
	Target string `json:"-"`
	Paused bool   `json:"paused"`
	Origin
}

// Key implements [Record].
func (p *Pause) Key() []byte { return key(KindPause, p.Target) }

// Accept says that failures for good of a target's events up to UpTo, by the events' own
// timestamps, are the events' fault: they become dead letters and hold nothing.
type Accept struct {
	Target string    `json:"-"`
	UpTo   time.Time `json:"up_to"`
	Origin
}

// Key implements [Record].
func (a *Accept) Key() []byte { return key(KindAccept, a.Target) }

// Replay moves a target's cursors back.
type Replay struct {
	// ID names the command. It is appended to the idempotency keys of what is pushed
	// again.
	ID     string `json:"-"`
	Target string `json:"target"`
	// Every pushes each version; otherwise the newest one of each key that the window
	// holds.
	Every bool `json:"every,omitempty"`
	// Ranges are what is replayed, at most one per partition.
	Ranges []Range `json:"ranges"`
	Origin
}

// Key implements [Record].
func (r *Replay) Key() []byte { return key(KindReplay, r.ID) }

// Range is a part of a partition's log.
type Range struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// From is the first offset, To one past the last; nil stands for the position that
	// the target has reached when the command is obeyed.
	From int64  `json:"from"`
	To   *int64 `json:"to,omitempty"`
}

// Range returns the part of a partition that is replayed, and whether there is any.
func (r *Replay) Range(topic string, partition int32) (Range, bool) {
	for _, g := range r.Ranges {
		if g.Topic == topic && g.Partition == partition {
			return g, true
		}
	}
	return Range{}, false
}

// Redrive sends the dead letters of one target again that the filter selects.
type Redrive struct {
	// ID names the command. It is appended to the idempotency keys of what is pushed
	// again, and to the ids of its dead letters.
	ID string `json:"-"`
	// Filter selects the letters. An empty Target does not stand for all here but for
	// those of no target: records that could not be read.
	deadletter.Filter

	// UpTo are the ends of the partitions of the dead-letter topic when the command was
	// given: later letters are no part of it.
	UpTo map[int32]int64 `json:"up_to"`
	Origin
}

// Key implements [Record].
func (r *Redrive) Key() []byte { return key(KindRedrive, r.ID) }

// Selects reports whether a letter, that lies at an offset of a partition of the
// dead-letter topic since written, is part of the redrive; original is nil if it is a
// reference.
func (r *Redrive) Selects(l *deadletter.Letter, original *event.Record, at event.Position, written time.Time) bool {
	return at.Offset < r.UpTo[at.Partition] && l.Target == r.Target && r.Filter.Selects(l, original, written)
}

// Push sends one record, the newest of its key, to a target again.
type Push struct {
	// ID names the command. It is appended to the idempotency key.
	ID        string `json:"-"`
	Target    string `json:"target"`
	PolicyKey string `json:"key"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Origin
}

// Key implements [Record].
func (p *Push) Key() []byte { return key(KindPush, p.ID) }

// Done tells who did what, for those who ask later.
type Done struct {
	ID string `json:"-"`
	// What is one of the constants below.
	What string `json:"what"`
	// Target is the one that was forgotten or repaired, Command the id of the command that
	// was cancelled or ends the idempotency keys of the repair, Letters are the dead letters
	// that were discarded.
	Target  string   `json:"target,omitempty"`
	Command string   `json:"command,omitempty"`
	Letters []string `json:"letters,omitempty"`
	Origin
}

// What is done.
const (
	DoneCancel  = "cancel"
	DoneDiscard = "discard"
	DoneForget  = "forget"
	DoneRepair  = "repair"
)

// Key implements [Record].
func (d *Done) Key() []byte { return key(KindDone, d.ID) }
