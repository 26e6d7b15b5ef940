//go:build synctests

package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/delivery"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// member is one life of a member that is the service from the Kafka client to the
// connectors.
type member struct {
	reader
	w        *service
	place    int
	life     int
	clientID string
	link     *link
	group    atomic.Pointer[kafka.Group]
	engine   *delivery.Engine
	producer *kafka.Producer
	receipts *kafka.Receipts
	letters  kafka.Letters

	// Stage.mu guards all below.
	dead   bool      // cut off for good
	gone   bool      // it has ended in good order
	silent time.Time // since then nothing of it reaches the group; zero: all does
	newest map[int]map[flight]int64
	anew   map[int]bool // partitions that are begun anew, of which newest knows nothing
}

// launch starts a member, unless it runs; a static one once its last life has ended, since
// no two may have its id.
func (w *service) launch(at int) {
	w.mu.Lock()
	runs, last := w.members[at] != nil, w.last[at]
	ends := last != nil && !last.dead && !last.gone
	w.mu.Unlock()
	switch {
	case runs:
		return
	case ends && w.static:
		w.in(100*time.Millisecond, func() { w.launch(at) })
		return
	}
	w.lives++
	m := &member{
		reader: reader{s: w.stage}, w: w, place: at, life: w.lives, link: newLink(w.stage, w.net, w.lives), newest: map[int]map[flight]int64{}, anew: map[int]bool{}, clientID: fmt.Sprintf("member%d-%d", at, w.lives),
	}
	w.links = append(w.links, m.link)
	log := slog.New(&ear{level: slog.LevelInfo, heard: m.heard})
	config := kafka.Config{
		Brokers: w.brokers, Group: group, Topics: []string{topic}, ClientID: m.clientID,
		SessionTimeout: session, GroupProtocol: w.protocol, Dial: m.link.dial,
	}
	if w.static {
		config.InstanceID = fmt.Sprintf("member%d", at)
	}
	m.producer = must(kafka.NewProducer(config, log))
	m.receipts = must(kafka.NewReceipts(config, receiptTopic, log))
	m.letters = kafka.Letters{Producer: m.producer, Topic: letterTopic}
	var targets []*delivery.Target
	for i, s := range w.systems {
		m.config = append(m.config, i)
		targets = append(targets, delivery.NewTarget(delivery.TargetConfig{
			Name: s.plan.name, Kind: "simulated", Settings: s.plan.settings, Connector: client{s, m}.connector(),
			HoldRatio: 0.5, Letters: m, Jitter: w.jitter, Metrics: w.metrics, Logger: log,
		}))
	}
	m.engine = delivery.NewEngine(delivery.Config{
		Targets: targets, Decoder: m, Reader: m, Router: m, Letters: m, Feeds: kafka.NewCatchUps(config, log), Receipts: true,
		CommitEvery: 20, CommitNow: m.commitNow, Memory: w.memory, Jitter: w.jitter, Tracer: w.tracer, Metrics: w.metrics, Logger: log,
	})
	m.group.Store(must(kafka.Join(config, kafka.GroupConfig{
		Engine: m.engine, Session: session, Drain: draining, Interval: 200*time.Millisecond + time.Duration(m.life), Logger: log,
		Receipts: m.receipts, Committed: func(_ time.Duration, err error) { w.look(m, err) },
	})))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members[at], w.last[at] = m, m
	w.note("member %d starts its life %d", at, m.life)
}

func (m *member) commitNow() {
	if g := m.group.Load(); g != nil {
		g.CommitNow()
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// end ends the process, and all its goroutines: in good order, or as if it were cut off
// at this instant.
func (m *member) end(orderly bool) {
	w := m.w
	w.mu.Lock()
	w.members[m.place] = nil
	m.dead = !orderly
	w.note("member %d life %d goes down, orderly %v", m.place, m.life, orderly)
	w.mu.Unlock()
	if !orderly {
		m.link.end()
		w.in(2*session, func() { w.ends.Go(m.expire) })
	}
	w.ends.Go(func() {
		m.group.Load().Stop(false)
		err := m.engine.Close(context.Background())
		m.producer.Close() // it may have letters that nobody waits for
		m.receipts.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.check.fail("close engine: %v", err)
		}
		m.gone = true
		w.note("member %d life %d is gone", m.place, m.life)
	})
}

// expire takes the member, which was killed, out of a classic group that has not noticed
// by then: a cluster in memory does not when it is killed while it joins.
func (m *member) expire() {
	w := m.w
	info := w.cluster.GroupInfo(group)
	if info == nil || w.protocol != "classic" {
		return
	}
	c := w.client()
	defer c.Close()
	for _, other := range info.Members {
		if other.ClientID == m.clientID {
			req := kmsg.NewPtrLeaveGroupRequest()
			req.Group = group
			req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: other.MemberID, InstanceID: other.InstanceID}}
			_ = must(req.RequestWith(context.Background(), c))
		}
	}
}

// heard listens to the log of the process.
func (m *member) heard(text string, said map[string]slog.Value) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.note("member %d life %d says: %s %v", m.place, m.life, text, said)
	begun := text == "partition released" || text == "partition assigned"
	if begun || text == "the log is not the one that was read; its end is looked for" {
		partition := int(said["partition"].Int64())
		delete(m.newest, partition)
		m.anew[partition] = !begun
	}
	if !m.dead {
		m.w.check.heard(text, said)
	}
}

// Read implements [delivery.Reader].
func (m *member) Read(r *event.Record, value *event.Object, schema *event.Schema) (*event.Event, error) {
	m.w.mu.Lock()
	l := m.w.logs[r.Partition]
	l.read = max(l.read, r.Offset+1)
	m.w.mu.Unlock()
	return m.reader.Read(r, value, schema)
}

// Write implements [delivery.Letters].
func (m *member) Write(ctx context.Context, l deadletter.Letter, r *event.Record) error {
	err := m.letters.Write(ctx, l, r)
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if !m.dead { // else its attempts are not counted any more
		m.w.check.letter(r.Position, l.Target, l.Class, l.Attempts, err == nil)
	}
	m.w.note("letter of %d/%d for %s, %s: %v", r.Partition, r.Offset, l.Target, l.Class, err)
	return err
}

// cutOff implements [life].
func (m *member) cutOff() bool { return m.dead }

// begin implements [life].
func (m *member) begin(target string, d *connector.Delivery, before map[int64]bool) attempt {
	t := &push{m, flight{target, d.Key}, d}
	t.check(before)
	return t
}
