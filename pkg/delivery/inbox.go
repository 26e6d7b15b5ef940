package delivery

import (
	"context"
	"sync"

	"github.com/hms-sme/policysync/pkg/event"
)

// inbox holds records between a feed, which must not wait, and the goroutine that
// works through them. When it holds more than limit bytes it has the feed pause; one
// fetch more than that may be held.
type inbox struct {
	limit int64
	// resume lets a paused feed go on. It is set before the first next.
	resume func()

	// mu guards all below, between the feed's goroutine and the reader's.
	mu    sync.Mutex
	queue []*event.Record
	bytes int64
	full  bool
	more  chan struct{}
}

func newInbox(limit int64, resume func()) *inbox {
	return &inbox{limit: limit, resume: resume, more: make(chan struct{}, 1)}
}

// put never waits. It returns true if the feed must pause until it is resumed.
func (b *inbox) put(records []*event.Record) (pause bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range records {
		b.bytes += int64(r.Size())
	}
	b.queue = append(b.queue, records...)
	b.full = b.bytes > b.limit
	select {
	case b.more <- struct{}{}:
	default:
	}
	return b.full
}

// next waits for a record. It returns an error when ctx ends.
func (b *inbox) next(ctx context.Context) (*event.Record, error) {
	for {
		if r := b.take(); r != nil {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-b.more:
		}
	}
}

func (b *inbox) take() *event.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return nil
	}
	r := b.queue[0]
	b.queue[0] = nil
	b.queue = b.queue[1:]
	b.bytes -= int64(r.Size())
	if b.full && b.bytes < b.limit/2 {
		b.full = false
		b.resume()
	}
	return r
}
