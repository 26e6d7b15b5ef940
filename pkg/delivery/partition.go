package delivery

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/mapping"
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
// routes its records, one lane per target, and the cursors of those lanes. A later
// assignment of the same partition is another Partition.
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

	// mu guards the queue between the feed, which must not wait, and the goroutine.
	mu     sync.Mutex
	queue  []*event.Record
	queued int64 // bytes of queue
	full   bool  // the feed was told to pause
	taken  int64 // one past the last offset that the feed gave
	more   chan struct{}
	resume func()

	next    int64        // the offset that the feed must give next, or one above
	epochs  []epochStart // of the records fed, ascending; guarded by mu
	end     atomic.Int64 // the log's end as last seen
	dirty   atomic.Int64 // settlings since the last checkpoint was taken
	busy    atomic.Int64 // since when the goroutine works on one record, unix nanoseconds; 0: it waits
	stopped chan struct{}
}

type epochStart struct {
	offset int64
	epoch  int32
}

// queueBytes bounds the records that wait between the feed and the partition's
// goroutine. One fetch more than this may be held.
const queueBytes = 4 << 20

// Start is the offset that the feed must begin with: the lowest cursor. It is asked
// before the first Take.
func (p *Partition) Start() int64 {
	start := p.lanes[0].cursor.Next()
	for _, l := range p.lanes[1:] {
		start = min(start, l.cursor.Next())
	}
	return start
}

// Take queues the next records of the partition, at least one, in order, with the
// log's first offset and its end (the offset that the next record will get) as the
// broker gave them. It never waits. It returns true if the feed must pause the
// partition until it is resumed.
func (p *Partition) Take(records []*event.Record, start, end int64) (pause bool) {
	p.end.Store(end)
	p.mu.Lock()
	defer p.mu.Unlock()
	// A gap that begins below the log's start is none between two records: the log
	// was cut while the feed waited.
	p.reportLost(p.taken, min(start, records[0].Offset))
	p.taken = records[len(records)-1].Offset + 1
	for _, r := range records {
		p.queued += int64(r.Size())
		if n := len(p.epochs); n == 0 || p.epochs[n-1].epoch != r.LeaderEpoch {
			p.epochs = append(p.epochs, epochStart{r.Offset, r.LeaderEpoch})
		}
	}
	p.queue = append(p.queue, records...)
	p.full = p.queued > queueBytes
	select {
	case p.more <- struct{}{}:
	default:
	}
	return p.full
}

// reportLost reports what of the offsets from (inclusive) to (exclusive), which have
// left the log, the lanes lack.
func (p *Partition) reportLost(from, to int64) {
	for _, l := range p.lanes {
		l.t.mu.Lock()
		p.engine.reportLost(&p.Assignment, l.t.name, l.cursor, from, to)
		l.t.mu.Unlock()
	}
}

// run is the partition's goroutine.
func (p *Partition) run() {
	defer close(p.stopped)
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.more:
		}
		for {
			r, ok := p.dequeue()
			if !ok {
				break
			}
			p.busy.Store(time.Now().UnixNano())
			err := p.feed(r)
			p.busy.Store(0)
			if err != nil {
				return // the assignment ended; what was not offered is not settled
			}
		}
	}
}

func (p *Partition) dequeue() (*event.Record, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil, false
	}
	r := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	p.queued -= int64(r.Size())
	if p.full && p.queued < queueBytes/2 {
		p.full = false
		p.resume()
	}
	return r, true
}

// feed brings one record to every lane. It returns an error only when the
// assignment ends.
func (p *Partition) feed(r *event.Record) error {
	if r.Offset < p.next {
		return nil
	}
	if r.Offset > p.next {
		// Between two records of one feed lies nothing that a consumer may read.
		for _, l := range p.lanes {
			l.passRange(p.next, r.Offset)
		}
	}
	p.next = r.Offset + 1
	if !slices.ContainsFunc(p.lanes, func(l *Lane) bool { return !l.settled(r.Offset) }) {
		return nil
	}
	ctx, span := p.engine.Tracer.StartProcess(p.ctx, r)
	defer span.End()
	ev, err := p.engine.read(ctx, p, r)
	if err == nil {
		err = p.fanOut(ctx, ev)
	}
	if err == nil || p.ctx.Err() != nil {
		return p.ctx.Err()
	}
	return p.bury(ctx, r, err)
}

// fanOut offers the event to the lanes of its targets. A lane whose window is full
// makes the feed wait. A filter that does not compile for the event's schema is its
// target's own trouble: the lane takes the event and holds it.
func (p *Partition) fanOut(ctx context.Context, ev *event.Event) error {
	decision := p.engine.Router.Route(ev)
	for _, name := range decision.Unknown {
		if err := p.letter(ctx, ev.Record, ev, name, unknownTarget(name)); err != nil {
			return err
		}
	}
	for i, l := range p.lanes {
		if l.settled(ev.Offset) { // before a restart, perhaps by a letter
			continue
		}
		d := decision.Targets[i]
		var held *mapping.SchemaError
		switch {
		case d.Err != nil && !errors.As(d.Err, &held):
			if err := p.letter(ctx, ev.Record, ev, l.t.name, d.Err); err != nil {
				return err
			}
			l.passAs(ev.Offset, outcomeDeadLettered)
		case held == nil && !d.Deliver:
			l.passAs(ev.Offset, outcomeFiltered)
		default:
			for room := l.offer(ctx, ev, d.Err); room != nil; room = l.offer(ctx, ev, d.Err) {
				p.busy.Store(0)
				select {
				case <-room:
				case <-p.ctx.Done():
					return p.ctx.Err()
				}
			}
		}
	}
	return nil
}

// bury sends a record that no target can have to the dead letters, once, and
// settles it for all lanes.
func (p *Partition) bury(ctx context.Context, r *event.Record, cause error) error {
	if err := p.letter(ctx, r, nil, "", cause); err != nil {
		return err
	}
	p.engine.Metrics.Undecodable(r.Topic)
	for _, l := range p.lanes {
		l.passAs(r.Offset, outcomeDeadLettered)
	}
	return nil
}

// letter writes the dead letter of a record, for a target or for none.
func (p *Partition) letter(ctx context.Context, r *event.Record, ev *event.Event, target string, cause error) error {
	p.busy.Store(0)
	l := deadletter.Letter{
		ID:     p.recordID(r.Offset),
		Target: target,
		Class:  string(connector.Permanent),
		Error:  cause.Error(),
		Trace:  traceID(trace.SpanFromContext(ctx)),
	}
	if target != "" {
		l.ID = p.deliveryID(r.Offset, target)
	}
	describe(&l, r, ev)
	p.engine.Logger.WarnContext(ctx, "record became a dead letter", "id", l.ID, "err", l.Error)
	return writeLetter(ctx, p.engine.Letters, l, r, p.engine.Logger)
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

// Checkpoint returns what to commit: the lowest cursor, the leader epoch of the
// record before it (-1 if unknown) and the metadata with all cursors. With an
// error nothing may be committed: without its cursors a commit would skip what
// lanes that this member lacks have not settled.
func (p *Partition) Checkpoint() (offset int64, epoch int32, metadata string, err error) {
	p.dirty.Store(0)
	cp := checkpoint.Checkpoint{TopicID: p.TopicID}
	highest := int64(0)
	for i, l := range p.lanes {
		l.t.mu.Lock()
		lane := l.saved
		lane.Cursor = l.cursor.Clone()
		l.t.mu.Unlock()
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
	return cp.Committed, p.epochAt(cp.Committed - 1), metadata, err
}

func (p *Partition) epochAt(offset int64) int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
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
	p.cancelFeed()
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
	p.cancelFeed()
	for _, l := range p.lanes {
		l.end(errReleased)
	}
	p.engine.released(p)
}

func (p *Partition) cancelFeed() {
	p.cancel(errReleased)
	<-p.stopped
}

// Uncommitted tells that the last Checkpoint did not get to Kafka.
func (p *Partition) Uncommitted() { p.dirty.Add(1) }
