package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/mapping"
	"github.com/hms-sme/policysync/pkg/redact"
	"github.com/hms-sme/policysync/pkg/route"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// Decoder makes a value of a record's bytes. A [*decode.UndecodableError] makes the
// record a dead letter; after any other error it is tried again until it is decoded.
type Decoder interface {
	Decode(ctx context.Context, r *event.Record) (*event.Object, *event.Schema, error)
}

// Reader reads from a decoded value what policysync must know of it. Its error
// makes the record a dead letter.
type Reader interface {
	Read(r *event.Record, value *event.Object, schema *event.Schema) (*event.Event, error)
}

// Router says which targets get an event.
type Router interface {
	Route(ev *event.Event) route.Decision
}

// Letters writes dead letters. Write returns nil only once the broker has
// acknowledged the letter.
type Letters interface {
	Write(ctx context.Context, l deadletter.Letter, r *event.Record) error
}

// Config is what an Engine is made of.
type Config struct {
	Targets []*Target // in the order in which Router decides about them
	Decoder Decoder
	Reader  Reader
	Router  Router
	Letters Letters
	Feeds   Feeds
	// Receipts has Checkpoint hand out the receipts of what has settled. Proofs reads them
	// back.
	Receipts bool
	Proofs   Proofs
	// Assigned is called, if not nil, after each Assign. It must not wait.
	Assigned func()
	// CommitEvery is checkpoint.every; CommitNow is called, without waiting, when
	// that many deliveries of a partition have settled since its last checkpoint.
	CommitEvery int
	CommitNow   func()
	// Memory is what the process should take, in bytes: an eighth of it bounds what all
	// lanes hold together, a thirty-second part what feeds have brought and no lane was offered
	// yet, another eighth what lanes know of the log ahead of them, and one more the receipts that are
	// not acknowledged. 0 leaves each lane to its own window.
	Memory  int64
	Jitter  Jitter
	Tracer  *telemetry.Tracer
	Metrics *telemetry.Metrics
	// Redact takes the sensitive values of an event out of what errors say.
	Redact *redact.Redactor
	Logger *slog.Logger
}

// Engine makes a Partition of each assignment and knows those that live.
type Engine struct {
	Config

	ctx    context.Context
	cancel context.CancelFunc

	// mu guards live, which admin and metrics read while partitions come and go.
	mu   sync.Mutex
	live map[*Partition]struct{}

	orders orders

	windows, inboxes, notes budget
}

// NewEngine returns an engine without partitions.
func NewEngine(c Config) *Engine {
	e := &Engine{Config: c, live: map[*Partition]struct{}{}, orders: orders{news: make(chan struct{})}}
	e.windows.limit, e.inboxes.limit, e.notes.limit = c.Memory/8, c.Memory/32, c.Memory/8
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// Assign makes the Partition of a new assignment: it works out from the commit where
// each lane begins, and starts the goroutine. Its errors are those of the source.
func (e *Engine) Assign(ctx context.Context, a Assignment, source Source) (*Partition, error) {
	p := &Partition{
		Assignment: a, engine: e, source: source, prefix: fmt.Sprintf("%s/%d/", a.TopicID, a.Partition),
		joined: make(chan struct{}), hungry: make(chan struct{}, 1), stopped: make(chan struct{}),
		unsaved: newUnsaved(),
	}
	restored, err := e.restore(ctx, p)
	if err != nil {
		return nil, err
	}
	// All that the log holds now was written under the epoch of its end, or before.
	p.epochs.see(a.EndEpoch, a.LogEnd-1)
	p.end.Store(a.LogEnd)
	p.ctx, p.cancel = context.WithCancelCause(e.ctx)
	for i, t := range e.Targets {
		p.lanes = append(p.lanes, newLane(t, p, i, restored[i]))
	}
	p.share.Store(int64(checkpoint.Share(checkpoint.DefaultLimit, append(restored, p.carried...))))
	for _, l := range p.lanes {
		l.next = l.cursor.Next()
		p.liveNext = max(p.liveNext, l.next)
	}
	p.liveStart = p.liveNext
	p.inbox = newInbox(p.liveNext, liveBytes, &e.inboxes, source.Resume)
	p.feeding.Lock()
	for _, l := range p.lanes {
		if l.attached = l.next == p.liveNext; !l.attached {
			p.startCatchUp(l)
		}
	}
	p.catching.Go(p.obey)
	p.feeding.Unlock()
	e.mu.Lock()
	e.live[p] = struct{}{}
	e.mu.Unlock()
	go p.run()
	if e.Assigned != nil {
		e.Assigned()
	}
	return p, nil
}

// liveBytes bounds the records between the live feed and a partition's goroutine.
const liveBytes = 2 << 20

func (e *Engine) released(p *Partition) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.live, p)
}

// Close ends every context of the engine, and closes the targets. All partitions
// must have been drained or aborted.
func (e *Engine) Close(ctx context.Context) error {
	e.cancel()
	var errs []error
	for _, t := range e.Targets {
		if err := t.Close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("close target %s: %w", t.name, err))
		}
	}
	return errors.Join(errs...)
}

// read makes the event of a record. It retries for as long as the schema registry
// is away: that is nobody's dead letter.
func (e *Engine) read(ctx context.Context, p *Partition, r *event.Record) (*event.Event, error) {
	// A single delivery that waits would else keep the whole fetch in memory.
	r = r.Clone()
	var value *event.Object
	var schema *event.Schema
	for n := 1; r.Value != nil; n++ {
		var err error
		if value, schema, err = e.Decoder.Decode(ctx, r); err == nil {
			break
		}
		var undecodable *decode.UndecodableError
		if errors.As(err, &undecodable) || ctx.Err() != nil {
			return nil, err
		}
		if n == 1 {
			e.Logger.WarnContext(ctx, "schema registry is away: the partition waits", "topic", r.Topic, "partition", r.Partition, "err", err)
		}
		p.busy.Store(0)
		if err := pause(ctx, Retry{Initial: 200 * time.Millisecond, Max: 10 * time.Second}.backoff(n, e.Jitter)); err != nil {
			return nil, err
		}
	}
	e.Metrics.Decoded(r.Topic)
	ev, err := e.Reader.Read(r, value, schema)
	if _, unreadable := errors.AsType[*mapping.SchemaError](err); unreadable {
		e.Logger.ErrorContext(ctx, "the event section does not compile for a schema: the partition waits for a config that does",
			"topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "err", err)
		p.busy.Store(0)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, e.Redact.Error(err, &event.Event{Record: r, Value: value, Schema: schema})
	}
	return ev, nil
}

// route decides about an event. What its verdicts say is fit for a letter.
func (e *Engine) route(ev *event.Event) route.Decision {
	d := e.Router.Route(ev)
	for i, v := range d.Targets {
		d.Targets[i].Err = e.Redact.Error(v.Err, ev)
	}
	return d
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// writeLetter writes a dead letter until the broker has it or ctx ends. No limit
// of tries: giving up would either lose the delivery or stop its lane.
func writeLetter(ctx context.Context, w Letters, l deadletter.Letter, r *event.Record, j Jitter, log *slog.Logger) error {
	for n := 1; ; n++ {
		err := w.Write(ctx, l, r)
		if err == nil || ctx.Err() != nil {
			return err
		}
		log.ErrorContext(ctx, "dead letter is not acknowledged; trying again", "id", l.ID, "err", err)
		if err := pause(ctx, time.Second+j.draw(4*time.Second)); err != nil {
			return err
		}
	}
}
