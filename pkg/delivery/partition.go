package delivery

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// errReleased is the cause with which the contexts of an assignment end.
var errReleased = errors.New("partition released")

// Assignment is a partition as the group gave it to this member.
type Assignment struct {
	Topic     string
	TopicID   event.TopicID
	Partition int32
	// Committed is the group's committed offset, -1 if it has none.
	Committed int64
	// Metadata is the string that was committed with it.
	Metadata string
	// LogStart is the first offset that the log still holds, LogEnd the one that the
	// next record will get, EndEpoch the leader epoch there, -1 if unknown.
	LogStart, LogEnd int64
	EndEpoch         int32
	// Added: there is no committed offset, but the group has committed others of the
	// topic.
	Added bool
}

// Source is what a Partition asks of the one who assigned it. An error of it is for
// that one: it has Assign fail.
type Source interface {
	// EpochEnd returns the first offset that was not written under a leader epoch or
	// an earlier one; -1 if the log has never known that epoch (KIP-101).
	EpochEnd(ctx context.Context, epoch int32) (int64, error)
	// OffsetAt returns the first offset whose record is not older than a time, the
	// log's end if there is none.
	OffsetAt(ctx context.Context, at time.Time) (int64, error)
	// Resume lets the live feed, which is paused, go on.
	Resume()
	// Diverged tells, once, that the log is another than the one that was read: it was
	// cut, or made anew. The source ends the Partition and assigns another, which
	// finds out what of the cursors still holds. It does not wait.
	Diverged(cause error)
}

// Partition is one assignment of a partition: a lasting goroutine that decodes and
// routes the records of the live feed, one lane per target, and the cursors of those
// lanes. A later assignment of the same partition is another Partition.
type Partition struct {
	Assignment
	engine *Engine
	source Source
	prefix string // of the ids of its records
	ctx    context.Context
	cancel context.CancelCauseFunc
	lanes  []*Lane // in the order of the engine's targets
	// carried are the lanes of targets that this member's config lacks.
	carried []checkpoint.Lane
	share   atomic.Int64 // bytes of the metadata per lane
	inbox   *inbox

	// feeding guards which lanes are attached to the live feed, what each was offered
	// (Lane.attached, Lane.next), which lanes there are, and the two below. It closes the race between a lane
	// that has caught up and the live feed that goes on.
	feeding  sync.Mutex
	liveNext int64         // all below was offered to every attached lane
	joined   chan struct{} // closed when a lane attaches, and then made anew
	catching sync.WaitGroup

	// waits is set while the live feed waits for a full lane; hungry wakes it.
	waits  atomic.Bool
	hungry chan struct{}

	liveStart int64 // where the live feed began
	epochs    epochs
	diverged  atomic.Bool // nothing more is taken from any feed

	unsaved *unsaved
	end     atomic.Int64 // the log's end as last seen
	dirty   atomic.Int64 // settlings since the last checkpoint was taken
	busy    atomic.Int64 // since when the goroutine works on one record, unix nanoseconds; 0: it waits
	stopped chan struct{}
}

// Start is the offset that the live feed must begin with: the highest cursor, so
// that no target waits for the backlog of another. The epoch is one under which the
// log held all below it, -1 if none is known.
func (p *Partition) Start() (offset int64, epoch int32) {
	return p.liveStart, p.epochs.at(p.liveStart - 1)
}

// Take queues the next records of the live feed, at least one, in order, with the
// log's first offset and its end (the offset that the next record will get) as the
// broker gave them. It never waits. It returns true if the feed must pause the
// partition until it is resumed.
func (p *Partition) Take(records []*event.Record, start, end int64) (pause bool) {
	return p.admit(records, end) && p.inbox.put(records, start)
}

// admit looks at what a feed brings. It returns false if nothing of it may be used.
func (p *Partition) admit(records []*event.Record, end int64) bool {
	for _, r := range records {
		if !p.epochs.see(r.LeaderEpoch, r.Offset) {
			p.Diverge(fmt.Errorf("offset %d was written again, under leader epoch %d", r.Offset, r.LeaderEpoch))
		}
	}
	if p.diverged.Load() {
		return false
	}
	p.end.Store(end)
	return true
}

// Diverge tells that a feed found the log to be another than the one it was reading.
// Nothing more is taken from any feed.
func (p *Partition) Diverge(cause error) {
	if p.diverged.CompareAndSwap(false, true) {
		p.source.Diverged(cause)
	}
}

// recordID names a record for ever: topic id, partition and offset.
func (p *Partition) recordID(offset int64) string {
	return p.prefix + strconv.FormatInt(offset, 10)
}

// deliveryID is the idempotency key: where the event lies and whom it is for.
func (p *Partition) deliveryID(offset int64, target string) string {
	id := append(make([]byte, 0, 128), p.prefix...)
	id = append(strconv.AppendInt(id, offset, 10), '/')
	return string(append(id, target...))
}

func (p *Partition) noteSettled() {
	if int(p.dirty.Add(1)) == p.engine.CommitEvery {
		p.engine.CommitNow()
	}
}

// Dirty reports whether anything settled since the last Checkpoint.
func (p *Partition) Dirty() bool { return p.dirty.Load() > 0 }

// Commit is what a checkpoint commits.
type Commit struct {
	// Offset is the lowest cursor, Epoch a leader epoch under which the log held all
	// below it, -1 if unknown.
	Offset int64
	Epoch  int32
	// Metadata holds all cursors.
	Metadata string
	// Receipts must be acknowledged before the commit, so that nothing is committed
	// that cannot be proven. They are good until the next call.
	Receipts []receipt.Receipt
}

// Checkpoint returns what to commit. With an error nothing may be committed: without
// its cursors a commit would skip what lanes that this member lacks have not settled.
func (p *Partition) Checkpoint() (Commit, error) {
	p.dirty.Store(0)
	cp := checkpoint.Checkpoint{TopicID: p.TopicID}
	highest := int64(0)
	p.feeding.Lock() // no lane takes another's place meanwhile
	for i, l := range p.lanes {
		l.t.mu.Lock()
		lane := l.saved
		lane.Cursor = l.cursor.Clone()
		outcomes := l.takeOutcomes(p.unsaved.spare)
		l.t.mu.Unlock()
		p.unsaved.add(outcomes)
		if next := lane.Cursor.Next(); i == 0 || next < cp.Committed {
			cp.Committed = next
		}
		highest = max(highest, lane.Cursor.Highest())
		cp.Lanes = append(cp.Lanes, lane)
	}
	p.feeding.Unlock()
	for _, lane := range p.carried { // which holds back nobody, so its next may be below
		highest = max(highest, lane.Cursor.Highest())
		cp.Lanes = append(cp.Lanes, lane)
	}
	cp.LeaderEpoch = p.epochs.at(highest - 1)
	metadata, cut, err := checkpoint.Encode(&cp, checkpoint.DefaultLimit)
	if len(cut) > 0 {
		p.engine.Logger.Warn("checkpoint has no room for all that settled out of order; a restart would repeat some pushes",
			"topic", p.Topic, "partition", p.Partition, "targets", cut)
	}
	return Commit{cp.Committed, p.epochs.at(cp.Committed - 1), metadata, p.unsaved.list}, err
}

// Drain ends the partition: it takes no more records, starts no more attempts,
// waits for those in flight for up to timeout, then cancels them. What has not
// settled by then never will under this assignment; Checkpoint still tells what
// has.
func (p *Partition) Drain(timeout time.Duration) {
	p.endFeeds()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	landed := make([]<-chan struct{}, len(p.lanes))
	for i, l := range p.lanes {
		landed[i] = l.drain()
	}
wait:
	for _, c := range landed {
		select {
		case <-c:
		case <-deadline.C:
			break wait
		}
	}
	p.Abort()
}

// Abort ends the partition at once: attempts in flight are cancelled and nothing
// settles any more.
func (p *Partition) Abort() {
	p.endFeeds()
	for _, l := range p.lanes {
		l.end(errReleased)
	}
	p.engine.released(p)
}

// endFeeds ends the live feed and all catch-up feeds of the partition.
func (p *Partition) endFeeds() {
	p.cancel(errReleased)
	<-p.stopped
	p.inbox.close()
	p.catching.Wait()
}

// Uncommitted tells that the last Checkpoint did not get to Kafka.
func (p *Partition) Uncommitted() { p.dirty.Add(1) }
