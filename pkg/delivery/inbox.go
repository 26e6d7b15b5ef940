package delivery

import (
	"context"
	"sync"

	"github.com/hms-sme/policysync/pkg/event"
)

// inbox holds records between a feed, which must not wait, and the goroutine that
// works through them. When it holds limit bytes, or what the budget leaves to it, it
// has the feed pause; one fetch more than that may be held.
type inbox struct {
	limit  int64
	budget *budget
	// resume lets a paused feed go on. It is set before the first next.
	resume func()

	// mu guards all below, between the feed's goroutine and the reader's.
	mu    sync.Mutex
	queue []arrival
	taken int64 // one past the last offset that the feed gave
	bytes int64
	// full: the feed is paused, until no more than low bytes are left.
	full   bool
	low    int64
	closed bool
	more   chan struct{}
}

// arrival is a record in an inbox. If lost is not 0, the offsets below it that the
// feed should have given before the record had left the log.
type arrival struct {
	*event.Record

	lost int64
}

// newInbox returns one whose feed begins at the offset from.
func newInbox(from, limit int64, b *budget, resume func()) *inbox {
	b.shares.Add(1)
	return &inbox{limit: limit, budget: b, resume: resume, taken: from, more: make(chan struct{}, 1)}
}

// close drops what is left, and what may still be put.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.hold(-b.bytes)
		b.budget.shares.Add(-1)
	}
	b.queue, b.closed = nil, true
}

func (b *inbox) hold(n int64) {
	b.bytes += n
	b.budget.held.Add(n)
}

// put never waits. Start is the log's first offset. It returns true if the feed must
// pause until it is resumed.
func (b *inbox) put(records []*event.Record, start int64) (pause bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	for _, r := range records {
		a := arrival{Record: r}
		// A gap that begins below the log's start is none between two records: the log
		// was cut while the feed waited.
		if to := min(start, r.Offset); b.taken < to {
			a.lost = to
		}
		b.taken = r.Offset + 1
		b.hold(int64(r.Size()))
		b.queue = append(b.queue, a)
	}
	if b.bytes >= min(b.limit, b.budget.most(b.bytes)) {
		b.full, b.low = true, b.bytes/4
	}
	select {
	case b.more <- struct{}{}:
	default:
	}
	return b.full
}

// next waits for a record. It returns an error when ctx ends.
func (b *inbox) next(ctx context.Context) (arrival, error) {
	for {
		if a := b.take(); a.Record != nil {
			return a, nil
		}
		select {
		case <-ctx.Done():
			return arrival{}, context.Cause(ctx)
		case <-b.more:
		}
	}
}

func (b *inbox) take() arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return arrival{}
	}
	a := b.queue[0]
	b.queue[0] = arrival{}
	b.queue = b.queue[1:]
	b.hold(-int64(a.Size()))
	if b.full && b.bytes <= b.low {
		b.full = false
		b.resume()
	}
	return a
}
