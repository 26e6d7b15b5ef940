package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/event"
)

// feed reads partitions with a client of its own, which is in no group, and hands
// the records over: the live feed those of all assigned partitions, a catch-up feed
// those of the lanes of one target. Only its polling goroutine adds and removes
// partitions, between two hand-overs, so that records polled for one assignment
// never reach the reader of a later one. A hand-over never waits: a partition whose
// reader has enough is paused.
type feed struct {
	client *kgo.Client
	log    *slog.Logger
	// fetch is how many bytes a broker answers to a fetch at the most, unless one batch has more.
	fetch  int32
	polled atomic.Int64 // when the last poll ended, unix nanoseconds
	done   chan struct{}

	// readers and topics, the ids under which topics are read, belong to the polling
	// goroutine.
	readers map[partition]*reader
	topics  map[string]event.TopicID

	// mu guards the commands for the polling goroutine and how to wake it.
	mu       sync.Mutex
	commands []func()
	wake     context.CancelFunc
	closed   bool
}

type partition struct {
	topic string
	id    int32
}

// reader is who gets the records of a partition. Take gets them in order, with the
// log's first offset and its end, and never waits; it returns true to have the
// partition paused. Diverge is told that the log is another than the one that was read
// so far.
type reader struct {
	topicID event.TopicID
	take    func(records []*event.Record, start, end int64) (pause bool)
	diverge func(cause error)

	// next, one past the last offset that was handed over, and failed, why nothing can be
	// fetched, belong to the polling goroutine.
	next   int64
	failed string
}

// pollEvery is how often the polling goroutine shows that it lives when there is
// nothing to read.
const pollEvery = 5 * time.Second

// newFeed makes a feed that reads nothing yet; fetch is in bytes.
func newFeed(c *Config, log *slog.Logger, fetch int32) (*feed, error) {
	client, err := c.dial(log,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Where retention deletes what is still to be read, go on from the log's start:
		// the Partition reports what its lanes then lack.
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// A partition that is added or resumed waits for the fetch under way.
		kgo.FetchMaxWait(100*time.Millisecond),
	)
	if err != nil {
		return nil, err
	}
	f := &feed{client: client, log: log, fetch: fetch, done: make(chan struct{}), readers: map[partition]*reader{}, topics: map[string]event.TopicID{}}
	f.polled.Store(time.Now().UnixNano())
	go f.run()
	return f, nil
}

// do has the polling goroutine run a command before its next hand-over.
func (f *feed) do(command func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commands = append(f.commands, command)
	if f.wake != nil {
		f.wake()
	}
}

// add begins to read a partition. All below start was written under the given leader
// epoch or an earlier one, which the broker is asked to confirm unless it is -1.
func (f *feed) add(id partition, r *reader, start int64, epoch int32) {
	f.do(func() {
		r.next = start
		f.readers[id] = r
		if known, ok := f.topics[id.topic]; ok && known != r.topicID { // kgo keeps to the id that it knows
			f.forget(id)
		}
		f.topics[id.topic] = r.topicID
		f.shareFetch()
		f.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{
			id.topic: {id.id: kgo.NewOffset().At(start).WithEpoch(epoch)},
		})
	})
}

// forget has the client learn about the topic of a partition anew. That silently ends its
// reading of the topic's other partitions, so their readers are told to begin again.
func (f *feed) forget(id partition) {
	f.client.PurgeTopicsFromConsuming(id.topic)
	for other, r := range f.readers {
		if other.topic == id.topic && other != id {
			r.diverge(kerr.UnknownTopicID)
		}
	}
}

// remove ends the reading of a partition. When it returns, nothing is handed over
// any more.
func (f *feed) remove(ids []partition) {
	removed := make(chan struct{})
	f.do(func() {
		defer close(removed)
		by := map[string][]int32{}
		for _, id := range ids {
			by[id.topic] = append(by[id.topic], id.id)
			delete(f.readers, id)
		}
		f.shareFetch()
		f.client.RemoveConsumePartitions(by)
		// A pause outlives the removal and would silence the next assignment.
		f.client.ResumeFetchPartitions(by)
	})
	select {
	case <-removed:
	case <-f.done:
	}
}

// shareFetch has a fetch bring less of each partition the more of them are read. One is
// paused only when it has brought something, and what it brings may be ten times as large
// once it is decompressed: with hundreds of partitions that would be more than all else.
func (f *feed) shareFetch() {
	const least, most = 8 << 10, 64 << 10
	each := 2 * int(f.fetch) / max(1, len(f.readers))
	f.client.UpdateFetchMaxBytes(f.fetch, int32(min(max(each, least), most)))
}

// resume lets a paused partition go on, unless it was given to another since.
func (f *feed) resume(id partition, r *reader) {
	f.do(func() {
		if f.readers[id] == r {
			f.client.ResumeFetchPartitions(map[string][]int32{id.topic: {id.id}})
		}
	})
}

func (f *feed) run() {
	defer close(f.done)
	for {
		ctx, ok := f.turn()
		if !ok {
			return
		}
		fetches := f.client.PollRecords(ctx, 10_000)
		f.polled.Store(time.Now().UnixNano())
		fetches.EachError(func(topic string, id int32, err error) {
			r := f.readers[partition{topic, id}]
			switch {
			case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			case r != nil && diverged(err):
				if errors.Is(err, kerr.UnknownTopicID) {
					f.topics[topic] = event.TopicID{} // it is learnt about anew, whatever its id is then
				}
				r.diverge(err)
			default:
				f.fail(partition{topic, id}, r, err)
			}
		})
		for _, fetch := range fetches {
			for _, t := range fetch.Topics {
				for _, p := range t.Partitions {
					f.handOver(t.Topic, t.TopicID, p)
				}
			}
		}
	}
}

// fail notes why a partition can't be fetched, as where a right is missing, and has it wait a
// second: kgo would ask again at once.
func (f *feed) fail(id partition, r *reader, err error) {
	if r == nil || r.failed != err.Error() {
		f.log.Error("fetch records; trying again", "topic", id.topic, "partition", id.id, "err", err)
	}
	if r != nil {
		r.failed = err.Error()
		f.client.PauseFetchPartitions(map[string][]int32{id.topic: {id.id}})
		time.AfterFunc(time.Second, func() { f.resume(id, r) })
	}
}

// diverged reports whether err means that the log is another than before: the client
// found it cut (KIP-320), or its topic was made anew.
func diverged(err error) bool {
	_, cut := errors.AsType[*kgo.ErrDataLoss](err)
	return cut || errors.Is(err, kerr.UnknownTopicID)
}

// turn runs the waiting commands and returns the context of the next poll.
func (f *feed) turn() (context.Context, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.commands) > 0 {
		commands := f.commands
		f.commands = nil
		f.mu.Unlock()
		for _, command := range commands {
			command()
		}
		f.mu.Lock()
	}
	if f.wake != nil {
		f.wake()
	}
	ctx, cancel := context.WithTimeout(context.Background(), pollEvery)
	f.wake = cancel
	return ctx, !f.closed
}

// handOver gives a reader what was fetched of its partition. The topic's id is zero where
// brokers do not tell it (before Kafka 3.1).
func (f *feed) handOver(topic string, topicID event.TopicID, p kgo.FetchPartition) {
	id := partition{topic, p.Partition}
	r := f.readers[id]
	if r == nil || len(p.Records) == 0 {
		return
	}
	if topicID != (event.TopicID{}) && topicID != r.topicID {
		r.diverge(kerr.UnknownTopicID)
		return
	}
	// The client goes back by itself where a start lies beyond the log's end.
	if first := p.Records[0].Offset; first < r.next {
		r.diverge(fmt.Errorf("the log goes on at offset %d instead of %d", first, r.next))
		return
	}
	r.next, r.failed = p.Records[len(p.Records)-1].Offset+1, ""
	records := make([]*event.Record, len(p.Records))
	block := make([]event.Record, len(p.Records))
	for i, record := range p.Records {
		block[i] = toRecord(record, r.topicID)
		records[i] = &block[i]
	}
	if r.take(records, p.LogStartOffset, p.HighWatermark) {
		f.client.PauseFetchPartitions(map[string][]int32{id.topic: {id.id}})
	}
}

func toRecord(r *kgo.Record, id event.TopicID) event.Record {
	var headers []event.Header
	if len(r.Headers) > 0 {
		headers = make([]event.Header, len(r.Headers))
		for i, h := range r.Headers {
			headers[i] = event.Header(h)
		}
	}
	return event.Record{
		Position: event.Position{
			Topic: r.Topic, TopicID: id, Partition: r.Partition, Offset: r.Offset, LeaderEpoch: r.LeaderEpoch,
		},
		Key: r.Key, Value: r.Value, Headers: headers, Timestamp: r.Timestamp,
	}
}

// close ends the polling goroutine and the client.
func (f *feed) close() {
	f.do(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.closed = true
	})
	<-f.done
	f.client.Close()
}
