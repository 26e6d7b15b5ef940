package delivery

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
)

// memoryFeeds is a log in memory that catch-up feeds can be opened on.
type memoryFeeds struct {
	mu     sync.Mutex
	log    []*event.Record
	grown  chan struct{}
	open   int
	opened int
}

func (f *memoryFeeds) append(records ...*event.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, records...)
	close(f.grown)
	f.grown = make(chan struct{})
}

// replace has the log go on otherwise from the index i.
func (f *memoryFeeds) replace(i int, records []*event.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log[:i:i], records...)
}

// counts returns how many feeds are open, and how many ever were.
func (f *memoryFeeds) counts() (open, opened int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open, f.opened
}

func (f *memoryFeeds) Open(_ string, from event.Position,
	take func(records []*event.Record, start, end int64) bool, _ func(error),
) (Feed, error) {
	ctx, cancel := context.WithCancel(context.Background())
	m := &memoryFeed{cancel: cancel, resumed: make(chan struct{}, 1), done: make(chan struct{})}
	f.mu.Lock()
	f.open++
	f.opened++
	f.mu.Unlock()
	go func() {
		defer close(m.done)
		f.serve(ctx, m, from.Offset, take)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.open--
	}()
	return m, nil
}

// serve hands over what the log has from an offset on, some records at a time, and at
// first some that lie before it, as a client may that reads whole batches.
func (f *memoryFeeds) serve(ctx context.Context, m *memoryFeed, from int64, take func(records []*event.Record, start, end int64) bool) {
	for from -= 3; ctx.Err() == nil; {
		f.mu.Lock()
		var some []*event.Record
		for _, r := range f.log {
			if r.Offset >= from && len(some) < 20 {
				some = append(some, r)
			}
		}
		wait := f.grown
		end := int64(0)
		if n := len(f.log); n > 0 {
			end = f.log[n-1].Offset + 1
		}
		f.mu.Unlock()
		if len(some) > 0 {
			from = some[len(some)-1].Offset + 1
			if !take(some, 0, end) {
				continue
			}
			wait = m.resumed
		}
		select {
		case <-wait:
		case <-ctx.Done():
		}
	}
}

// fakeLog is what the broker knows of a partition's log.
type fakeLog struct {
	// ends are where the records of each epoch end; others are as long as anybody asks.
	ends map[int32]int64
	// times are the offsets of times.
	times   map[time.Time]int64
	fail    error
	resumed int
	// diverged are the reasons for which an assignment had to end.
	diverged []error
}

func (l *fakeLog) EpochEnd(_ context.Context, epoch int32) (int64, error) {
	if end, ok := l.ends[epoch]; ok {
		return end, l.fail
	}
	return math.MaxInt64, l.fail
}

func (l *fakeLog) OffsetAt(_ context.Context, at time.Time) (int64, error) {
	return l.times[at], l.fail
}

func (l *fakeLog) Resume() { l.resumed++ }

func (l *fakeLog) Diverged(cause error) { l.diverged = append(l.diverged, cause) }

type memoryFeed struct {
	cancel  context.CancelFunc
	resumed chan struct{}
	done    chan struct{}
}

func (m *memoryFeed) Resume() {
	select {
	case m.resumed <- struct{}{}:
	default:
	}
}

func (m *memoryFeed) Close() {
	m.cancel()
	<-m.done
}
