// Package receipt is the format of the records that prove, for any policy, which
// version each target has, since when and under which trace, or why not; of those by
// which the members of the group tell how they are; and of those that say what became
// of a dead letter. docs/receipts.md describes them for operators.
//
// The package is pure. What settles, and how, is for package delivery to say;
// writing a receipt before the commit that it belongs to, and reading it back, is
// package kafka's part.
package receipt

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hms-sme/policysync/pkg/event"
)

// Kind begins the key of a record on the receipts topic.
type Kind string

// The kinds of records.
const (
	// KindHeld is held/TARGET/KEY: the version that the target has.
	KindHeld Kind = "held"
	// KindLast is last/TARGET/KEY: the last outcome that was no delivery.
	KindLast Kind = "last"
	// KindMember is member/ID: how a member of the group is.
	KindMember Kind = "member"
	// KindLetter is letter/ID: what became of a dead letter.
	KindLetter Kind = "letter"
)

// How a delivery settles. A filtered one has no receipt.
const (
	Delivered    = "delivered"
	Filtered     = "filtered"
	Superseded   = "superseded"
	Stale        = "stale"
	DeadLettered = "dead-lettered"
)

// MaxText bounds, in bytes, what a receipt keeps of an error and of a reference.
// The whole error is in the dead letter.
const MaxText = 1024

// Receipt says how one delivery settled. A delivered one is kept under held/, any
// other under last/: so a target's last outcome is the newer of the two.
type Receipt struct {
	// Target and Key, the policy key, are those of the record's key.
	Target, Key string
	// Outcome is how the delivery settled: one of the constants above.
	Outcome string
	// Time is when it settled, at the latest when the session ended that the member had.
	Time time.Time
	// Attempts is how many were made; 0 if it never came to one.
	Attempts int
	// Source is where the event lies. Its LeaderEpoch is not kept: Decode gives -1.
	Source event.Position
	// Version is the event's own version and only meaningful if HasVersion.
	Version    int64
	HasVersion bool
	// Deleted reports that the event was a tombstone: the target has the key no more.
	Deleted bool
	// Trace is the trace id of the delivery, empty if it was not traced.
	Trace string
	// Reference is the external system's own id for what it has, empty if it gave
	// none.
	Reference string
	// Superseded counts the versions that gave way to newer ones since the record
	// that this one replaces; a superseded delivery counts itself.
	Superseded int
	// Class and Error are those of the last error of a dead-lettered delivery, Letter
	// is the id of its dead letter.
	Class, Error, Letter string
}

// Kind is the kind of record that keeps the receipt.
func (r *Receipt) Kind() Kind {
	if r.Outcome == Delivered {
		return KindHeld
	}
	return KindLast
}

// Late reports that r, though written after old under the same key, must not
// replace it: a member wrote it that had lost the partition by then and did not know.
// Such a receipt is of an earlier event and of an earlier time; that of a replay,
// which pushes an earlier event again, is of a later time.
func (r *Receipt) Late(old *Receipt) bool {
	return r.Source.TopicID == old.Source.TopicID && r.Source.Partition == old.Source.Partition &&
		r.Source.Offset < old.Source.Offset && r.Time.Before(old.Time)
}

// Bounded returns text as valid UTF-8 of at most MaxText bytes.
func Bounded(text string) string {
	const mark = "…"
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= MaxText {
		return text
	}
	end := MaxText - len(mark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.Clone(text[:end]) + mark
}
