// Package connector is the contract between the delivery engine and the code for
// one kind of external system: what a connector is given, what it must do, what
// its errors mean, and how its part of the config becomes a value.
//
// It owns no delivery: retries, breakers, order and dead letters belong to
// package delivery, which reads the answers that this package defines. The
// conformance suite connectortest proves each sentence below for each connector.
package connector

import (
	"context"
	"log/slog"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
)

// Connector pushes deliveries to one external system.
//
// Push makes a single attempt at one delivery. It returns a nil error only once
// the external system holds the change: the source offset may be committed right
// after. The same delivery can come back, after a failure, a restart or a
// rebalance, always under the same Delivery.ID, so the effect must be idempotent
// on that id. Push may be called from many goroutines at a time, but never twice
// at a time for one Delivery.Key.
//
// Push says by the class of its error (see [Class]) what the lane must do. It
// never retries by itself. It does not keep d after it returns. When ctx ends it
// returns promptly, with an error that wraps the context's.
//
// A change that the external system already holds, or a delete of what is already
// gone, is a success. A change that the external system refused because it
// holds a newer version is a success with Receipt.Stale set.
//
// Close releases what the connector holds. It is called once, after the last
// Push has returned or been cancelled; a Push that still runs fails promptly.
type Connector interface {
	Push(ctx context.Context, d *Delivery) (Receipt, error)
	Close(ctx context.Context) error
}

// BatchConnector pushes several deliveries with one call.
//
// PushBatch returns one result per delivery, index-aligned; a shorter answer is a
// programming error that fails the missing ones as transient. A batch never holds
// two deliveries of one key, unless the connector also is an [OrderedBatch]. When
// nothing of the batch was applied, it returns [FailAll], so that a permanent
// failure of the whole can be told from one of each row: the lane then splits the
// batch to find the row at fault.
type BatchConnector interface {
	Connector
	PushBatch(ctx context.Context, ds []*Delivery) []Result
}

// OrderedBatch marks a batch connector that applies the deliveries of a batch in
// their order, or as if it did: then one batch may hold several of one key. Of a key
// it applies none behind one that failed.
type OrderedBatch interface {
	BatchConnector
	AppliesBatchInOrder()
}

// Preparer is an optional ability: to make from the event what Push will send.
//
// Prepare is called once per delivery, before its first attempt, and sets
// d.Document. It evaluates the expressions of the config and does nothing else:
// no I/O. Its error is a failure of this event's values, and always permanent.
// `policysync map` prints the document as JSON (json.Marshaler, or a value that
// [event.AppendJSON] knows).
type Preparer interface {
	Prepare(d *Delivery) error
}

// Checker is an optional ability: to tell whether the external system is
// reachable, lets us in and fits the config (columns that exist, say). It changes
// nothing there.
type Checker interface {
	Check(ctx context.Context) error
}

// Inspector is an optional ability: to read back what the external system holds
// for the given keys, in any order; a key that it does not hold is left out.
type Inspector interface {
	Inspect(ctx context.Context, keys []string) ([]Held, error)
}

// Held is what an external system holds for one key.
type Held struct {
	Key     string
	Version int64
	// Document is what can be read back, nil if nothing can.
	Document *event.Object
}

// Op is what a delivery asks for.
type Op string

// The operations. A tombstone is a delete; everything else is an upsert: the
// target may or may not hold the key already.
const (
	Upsert Op = "upsert"
	Delete Op = "delete"
)

// Delivery is one event for one target.
type Delivery struct {
	// ID is the idempotency key: the same for every attempt, restart and rebalance.
	ID     string
	Target string
	// Key is the policy key. For a record without one it is a stand-in made of
	// its position, so that it is unique.
	Key     string
	Op      Op
	Version Version
	// Event is what was decoded. Its Value is nil for a delete.
	Event *event.Event
	// Document is what Prepare made, nil if the connector is no Preparer.
	Document any
	// Attempt counts from 1.
	Attempt int
}

// Version orders the changes of one key at the target.
type Version struct {
	// Value is the event's version, or the source offset, as the target's config
	// chose. It is 0 with Known false on a tombstone when the source is the event.
	Value int64
	Known bool
	// ByOffset tells that Value is the source offset: two versions then compare
	// only if their records share topic id and partition.
	ByOffset bool
}

// Receipt is what the external system answered to a push that succeeded.
type Receipt struct {
	// Reference is the external system's own id for what it holds, if it gave one.
	Reference string
	// Stale reports that the external system already held a newer version and
	// kept it.
	Stale bool
}

// Result is the outcome of one delivery of a batch.
type Result struct {
	Receipt Receipt
	Err     error
}

// Env is what the engine gives a connector when it makes it.
type Env struct {
	// Target is the target's name, for logs and errors.
	Target string
	// Logger carries the target's name. It never sees secrets.
	Logger *slog.Logger
	// Timeout bounds one attempt; the context given to Push ends with it.
	Timeout time.Duration
	// Concurrency is the number of attempts that may run at a time: how many
	// connections are worth keeping.
	Concurrency int
	// BatchSize is the largest batch that PushBatch will be given.
	BatchSize int
}
