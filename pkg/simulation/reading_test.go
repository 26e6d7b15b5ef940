package simulation

import (
	"context"
	"errors"
	"time"

	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/delivery"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/route"
)

// feed hands a partition's log over, live or to catch up, some records at a time.
type feed struct {
	w       *world
	log     *partitionLog
	live    *tenure // whose live feed it is, nil if it is to catch up
	take    func(records []*event.Record, start, end int64) bool
	diverge func(cause error)
	cancel  context.CancelFunc
	resumed chan struct{}
	done    chan struct{}
}

func (w *world) read(live *tenure, from event.Position, take func([]*event.Record, int64, int64) bool, diverge func(error)) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{
		w: w, log: w.logs[from.Partition], live: live, take: take, diverge: diverge, cancel: cancel,
		resumed: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go f.run(ctx, from)
	return f
}

var (
	errAnotherTopic = errors.New("unknown topic id")
	errCut          = errors.New("data loss")
)

// fetch returns the next records after those that were read, and where to go on. It asks
// each new leader first whether its log is the one that was read (KIP-320).
func (f *feed) fetch(read event.Position, n int) (records []*event.Record, next event.Position, err error) {
	switch next = read; {
	case f.log.topicID != read.TopicID:
		return nil, read, errAnotherTopic
	case f.log.end() < read.Offset, read.LeaderEpoch >= 0 && f.log.epochEnd(read.LeaderEpoch) < read.Offset:
		return nil, read, errCut
	}
	if f.live != nil && f.live.highest <= f.log.since(f.live.cuts) { // nothing of the tenure is cut away
		f.live.cuts = len(f.log.cuts)
	}
	if records, next.Offset = f.log.fetch(read.Offset, n); next.Offset > read.Offset {
		next.LeaderEpoch = f.log.epochOf(next.Offset - 1)
	}
	return records, next, nil
}

func (f *feed) run(ctx context.Context, next event.Position) {
	defer close(f.done)
	for turn := 0; ctx.Err() == nil; turn++ {
		pick := func(of, part int) int { return f.w.below(of, forFeed, f.log.id, int(next.Offset), turn, part) }
		f.w.mu.Lock()
		records, to, err := f.fetch(next, 1+pick(20, 1))
		start, end, news := f.log.start, f.log.end(), f.log.news
		f.w.mu.Unlock()
		if err != nil {
			f.diverge(err)
			return
		}
		next = to
		var waits <-chan struct{}
		if len(records) > 0 {
			wait(ctx, f.w.upTo(5*time.Millisecond, forFeed, f.log.id, int(next.Offset), turn, 2))
			if ctx.Err() != nil {
				return
			}
			if !f.take(records, start, end) {
				continue
			}
			waits = f.resumed
		} else if next.Offset == end {
			waits = news
		}
		if waits != nil {
			select {
			case <-waits:
			case <-ctx.Done():
			}
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Resume implements [delivery.Feed].
func (f *feed) Resume() {
	select {
	case f.resumed <- struct{}{}:
	default:
	}
}

// Close implements [delivery.Feed].
func (f *feed) Close() {
	f.cancel()
	<-f.done
}

// Open implements [delivery.Feeds].
func (p *process) Open(_ string, from event.Position, take func([]*event.Record, int64, int64) bool, diverge func(error)) (delivery.Feed, error) {
	p.w.mu.Lock()
	p.opened++
	refused := p.w.oneIn(8, forFeed, p.member, p.life, p.opened)
	p.w.mu.Unlock()
	if refused {
		return nil, errors.New("connection refused")
	}
	return p.w.read(nil, from, take, diverge), nil
}

// reader is what a process makes of records.
type reader struct {
	s      *stage
	config []int // the targets of its config, by their place in the plan
}

// Decode implements [delivery.Decoder].
func (p *reader) Decode(_ context.Context, r *event.Record) (*event.Object, *event.Schema, error) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	switch {
	case time.Now().Before(p.s.registryBack):
		return nil, nil, &decode.UnavailableError{Err: errors.New("connection refused")}
	case p.s.garbage(r):
		return nil, nil, &decode.UndecodableError{Err: errors.New("not Avro")}
	}
	return &event.Object{}, &event.Schema{ID: 7, Root: &event.Type{Kind: event.Rec}}, nil
}

// Read implements [delivery.Reader].
func (*reader) Read(r *event.Record, value *event.Object, schema *event.Schema) (*event.Event, error) {
	return &event.Event{
		Record: r, Key: string(r.Key), HasKey: r.Key != nil, Value: value, Schema: schema, Version: r.Offset, HasVersion: true,
	}, nil
}

// Route implements [delivery.Router].
func (p *reader) Route(ev *event.Event) route.Decision {
	var d route.Decision
	for _, i := range p.config {
		d.Targets = append(d.Targets, route.Verdict{Deliver: !p.s.filtered(ev.Record, i)})
	}
	if p.s.unknown(ev.Record) {
		d.Unknown = []string{"nobody"}
	}
	return d
}

// Write implements [delivery.Letters].
func (p *process) Write(ctx context.Context, l deadletter.Letter, r *event.Record) error {
	w := p.w
	w.mu.Lock()
	w.written++
	n := w.written
	w.mu.Unlock()
	wait(ctx, w.upTo(50*time.Millisecond, forLetter, int(r.Partition), int(r.Offset), n))
	w.mu.Lock()
	defer w.mu.Unlock()
	away := time.Now().Before(w.lettersBack)
	acked := !away && !p.dead && ctx.Err() == nil
	if acked || w.oneIn(2, forLetter, n) && !p.dead { // else the answer, or the letter, is lost
		w.check.letter(r.Position, l.Target, l.Class, l.Attempts, acked)
		w.note("letter of %d/%d for %.8s, %s, acked %v", r.Partition, r.Offset, l.Target, l.Class, acked)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !acked:
		return errors.New("no answer")
	}
	return nil
}
