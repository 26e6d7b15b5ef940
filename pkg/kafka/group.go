package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/delivery"
)

// Group is this process's membership of the consumer group. Its client only joins,
// heartbeats and commits: its fetches stay paused and nobody polls it, so no
// callback of it ever blocks the reading. What is assigned is read by the feed.
type Group struct {
	config Config
	engine *delivery.Engine
	drain  time.Duration
	log    *slog.Logger
	onDone func(took time.Duration, err error) // of each commit
	proof  *Receipts                           // nil if none are kept

	member  *kgo.Client
	session *session
	admin   *kadm.Client
	feed    *feed

	// mu guards live, between the callbacks of kgo and the committer, and keeps the
	// callbacks out while Join makes the member.
	mu   sync.Mutex
	live map[partition]*assignment
	gone map[string]bool // topics that were left, and not assigned since; mu guards it too

	joined atomic.Bool

	// releasing has a revoke wait for a Stop that drains the same partitions: once
	// the callback returns, the group gives them to another member.
	releasing gate

	// committing lets one commit be in flight at a time, so that an older one can't
	// overtake a newer one. A revoke's last commit waits for it here.
	committing gate
	now        chan struct{} // asks for a commit before the interval is over
	stop       chan struct{}
	stopped    sync.WaitGroup
	restarts   sync.WaitGroup
	once       sync.Once
}

// gate is a mutex for what waits for the network: under the virtual time of
// testing/synctest a wait for a sync.Mutex would stop the clock.
type gate chan struct{}

func (g gate) Lock()   { g <- struct{}{} }
func (g gate) Unlock() { <-g }

// GroupConfig is what a Group needs beside the cluster's config.
type GroupConfig struct {
	Engine *delivery.Engine
	// Session is how long the group waits for a silent member, see [Admin.Timing].
	Session time.Duration
	// Drain is how long a revoke waits for attempts in flight.
	Drain time.Duration
	// Interval is the time between two commits.
	Interval time.Duration
	Logger   *slog.Logger
	// Receipts writes those of what is committed, before it is. Nil: none are kept.
	Receipts *Receipts
	// Committed is called after each commit, with the time that it took and its error.
	Committed func(took time.Duration, err error)
}

// Join makes a member of the group and starts it. It returns before anything is
// assigned.
func Join(c Config, g GroupConfig) (*Group, error) {
	group := &Group{
		config: c, engine: g.Engine, drain: g.Drain, log: g.Logger, onDone: g.Committed, proof: g.Receipts,
		session: &session{renew: func(sent time.Time) { g.Engine.Renew(sent.Add(g.Session)) }},
		live:    map[partition]*assignment{}, gone: map[string]bool{}, now: make(chan struct{}, 1), stop: make(chan struct{}),
		releasing: make(gate, 1), committing: make(gate, 1),
	}
	g.Engine.Renew(time.Time{}) // nothing starts before there is a session
	balancer := kgo.Balancers(kgo.CooperativeStickyBalancer())
	if c.GroupProtocol == "consumer" {
		balancer = kgo.ServerSideBalancer()
	}
	opts := []kgo.Opt{
		kgo.ConsumerGroup(c.Group),
		kgo.ConsumeTopics(c.Topics...),
		balancer,
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(c.SessionTimeout),
		kgo.HeartbeatInterval(c.HeartbeatInterval()),
		kgo.RebalanceTimeout(RebalanceTimeout),
		// With the classic protocol a member finds out that a topic has more partitions.
		kgo.MetadataMaxAge(10 * time.Second),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.WithHooks(group.session),
		kgo.OnPartitionsAssigned(group.assigned),
		kgo.OnOffsetsFetched(group.fetched),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { group.release(m, true) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { group.release(m, false) }),
	}
	if c.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(c.InstanceID))
	}
	var err error
	if group.feed, err = newFeed(&c, g.Logger, 512<<10); err != nil {
		return nil, err
	}
	// The client calls back from the moment that it is made. Its first callback,
	// assigned, waits here until there is a member to speak for.
	group.mu.Lock()
	defer group.mu.Unlock()
	if group.member, err = c.dial(g.Logger, opts...); err != nil {
		group.feed.close()
		return nil, err
	}
	group.member.PauseFetchTopics(c.Topics...)
	group.admin = kadm.NewClient(group.member)
	group.stopped.Go(func() { group.commitLoop(g.Interval) })
	return group, nil
}

// Health returns an error if the polling goroutine has not come round for a
// minute: heartbeats go on without it, so the group would not notice.
func (g *Group) Health() error {
	if idle := time.Since(time.Unix(0, g.feed.polled.Load())); idle > time.Minute {
		return fmt.Errorf("no poll for %s", idle.Round(time.Second))
	}
	return nil
}

// Joined reports whether the group has taken this member in, whatever came after.
func (g *Group) Joined() bool { return g.joined.Load() }

// Assigned is the number of partitions that this member has.
func (g *Group) Assigned() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.live)
}

// Stop drains every partition, commits, and leaves the group; a static member
// stays in it, to be back before its session ends, unless leave is set. It may be
// called twice.
func (g *Group) Stop(leave bool) {
	g.once.Do(func() {
		close(g.stop)
		g.stopped.Wait()
		g.releasing.Lock()
		g.mu.Lock()
		all := slices.Collect(maps.Values(g.live))
		clear(g.live)
		g.mu.Unlock()
		g.finish(all, true)
		g.releasing.Unlock()
		id, generation := g.member.GroupMetadata()
		g.member.Close()
		if g.config.InstanceID != "" && generation >= 0 {
			if err := g.endStatic(id, leave); err != nil {
				g.log.Warn("tell the group how a static member stops; it waits for the session to end", "err", err)
			}
		}
		g.feed.close()
		g.restarts.Wait()
	})
}

// endStatic takes a static member out of the group, which closing does not. If it is
// to come back, a classic group need not know, and one of KIP-848 must: it refuses
// the instance id to anyone else until the session is over. kgo tells it so without
// the instance id, which Kafka refuses.
func (g *Group) endStatic(id string, leave bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if g.config.GroupProtocol == "classic" {
		if !leave {
			return nil
		}
		left, err := kadm.NewClient(g.feed.client).LeaveGroup(ctx,
			kadm.LeaveGroup(g.config.Group).InstanceIDs(g.config.InstanceID).Reason("scale down"))
		return errors.Join(err, left.Error())
	}
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.InstanceID = g.config.Group, id, &g.config.InstanceID
	if req.MemberEpoch = -2; leave {
		req.MemberEpoch = -1
	}
	resp, err := req.RequestWith(ctx, g.feed.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}
