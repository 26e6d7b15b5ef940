// Package control is the format of the records by which operators tell the members of
// a group what to do. The control topic is compacted and has one partition, so all
// members obey in the same order. docs/operations.md describes it for operators.
//
// The package is pure. Obeying a command is for package delivery to say; writing
// records and following the topic is package kafka's part.
package control

import "time"

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
)

// Origin says who gave a command, when and why.
type Origin struct {
	By     string    `json:"by"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason,omitempty"`
}

// Record is one of [*Pause] and [*Accept].
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
