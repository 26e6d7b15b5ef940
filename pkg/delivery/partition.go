package delivery

import (
	"context"
	"errors"
	"slices"
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
	// LogStart is the first offset that the log still holds.
	LogStart int64
}

// Partition is one assignment of a partition: a lasting goroutine that decodes and
// routes the records of the live feed, one lane per target, and the cursors of those
// lanes. A later assignment of the same partition is another Partition.
type Partition struct {
	Assignment
	engine *Engine
	prefix string // of the ids of its records
	ctx    context.Context
	cancel context.CancelCauseFunc
	lanes  []*Lane // in the order of the engine's targets
	// carried are the lanes of targets that this member's config lacks.
	carried []checkpoint.Lane
	share   int // bytes of the metadata per lane
	inbox   *inbox

	// feeding guards which lanes are attached to the live feed, what each was offered
	// (Lane.attached, Lane.next), and the two below. It closes the race between a lane
	// that has caught up and the live feed that goes on.
	feeding  sync.Mutex
	liveNext int64         // all below was offered to every attached lane
	joined   chan struct{} // closed when a lane attaches, and then made anew
	catching sync.WaitGroup

	// epochMu guards epochs: those of the records of the live feed, ascending.
	epochMu sync.Mutex
	epochs  []epochStart

	unsaved unsaved
	end     atomic.Int64 // the log's end as last seen
	dirty   atomic.Int64 // settlings since the last checkpoint was taken
	busy    atomic.Int64 // since when the goroutine works on one record, unix nanoseconds; 0: it waits
	stopped chan struct{}
}

type epochStart struct {
	offset int64
	epoch  int32
}

// Start is the offset that the live feed must begin with: the highest cursor, so
// that no target waits for the backlog of another. It is asked before the first Take.
func (p *Partition) Start() int64 { return p.liveNext }

// Take queues the next records of the live feed, at least one, in order, with the
// log's first offset and its end (the offset that the next record will get) as the
// broker gave them. It never waits. It returns true if the feed must pause the
// partition until it is resumed.
func (p *Partition) Take(records []*event.Record, start, end int64) (pause bool) {
	p.end.Store(end)
	p.epochMu.Lock()
	for _, r := range records {
		if n := len(p.epochs); n == 0 || p.epochs[n-1].epoch != r.LeaderEpoch {
			p.epochs = append(p.epochs, epochStart{r.Offset, r.LeaderEpoch})
		}
	}
	p.epochMu.Unlock()
	return p.inbox.put(records, start)
}

// recordID names a record for ever: topic id, partition and offset.
func (p *Partition) recordID(offset int64) string {
	return p.prefix + strconv.FormatInt(offset, 10)
}

// deliveryID is the idempotency key: where the event lies and whom it is for.
func (p *Partition) deliveryID(offset int64, target string) string {
	return p.prefix + strconv.FormatInt(offset, 10) + "/" + target
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
	// Offset is the lowest cursor, Epoch the leader epoch of the record before it, -1
	// if unknown.
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
	for i, l := range p.lanes {
		l.t.mu.Lock()
		lane := l.saved
		lane.Cursor = l.cursor.Clone()
		outcomes := l.takeOutcomes()
		l.t.mu.Unlock()
		p.unsaved.add(outcomes)
		if next := lane.Cursor.Next(); i == 0 || next < cp.Committed {
			cp.Committed = next
		}
		highest = max(highest, lane.Cursor.Highest())
		cp.Lanes = append(cp.Lanes, lane)
	}
	cp.Lanes = append(cp.Lanes, p.carried...)
	cp.LeaderEpoch = p.epochAt(highest - 1)
	metadata, cut, err := checkpoint.Encode(&cp, checkpoint.DefaultLimit)
	if len(cut) > 0 {
		p.engine.Logger.Warn("checkpoint has no room for all that settled out of order; a restart would repeat some pushes",
			"topic", p.Topic, "partition", p.Partition, "targets", cut)
	}
	return Commit{cp.Committed, p.epochAt(cp.Committed - 1), metadata, p.unsaved.list}, err
}

func (p *Partition) epochAt(offset int64) int32 {
	p.epochMu.Lock()
	defer p.epochMu.Unlock()
	for _, start := range slices.Backward(p.epochs) {
		if start.offset <= offset {
			return start.epoch
		}
	}
	return -1
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
	p.catching.Wait()
}

// Uncommitted tells that the last Checkpoint did not get to Kafka.
func (p *Partition) Uncommitted() { p.dirty.Add(1) }
