//go:build synctests

package simulation

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

const (
	group        = "sync"
	letterTopic  = "letters"
	receiptTopic = "receipts"
	nodes        = 3
)

// service is everything around whole members: the stage and a cluster of brokers in
// memory. Its own goroutine, run's, carries out the steps.
type service struct {
	*stage

	steps    []disturbance
	protocol string
	net      *kfake.VirtualNetwork
	cluster  *kfake.Cluster
	brokers  []string
	ends     sync.WaitGroup // of members
	lives    int
	away     int32 // the node that has left, -1 if none
	faults   []*kfake.FaultHandle
	links    []*link // of all lives, and that of the simulation's own clients
	writes   chan func()
	wrote    chan struct{} // closed when the writer has ended
	looking  chan struct{} // lets one look at the group's commits

	// mu guards all below.
	members []*member // nil while one is down
	last    []*member // the last life of each
	stored  commits
	flying  map[flight]*push
	claims  []claim
}

// The whole service keeps its promises whatever befalls it. SEED, SEEDS and FROM are as
// for the engine's.
func TestServiceKeepsItsPromises(t *testing.T) {
	runSeeds(t, 30, "make simulate-group", func(s seed, metrics *telemetry.Metrics, tracer *telemetry.Tracer) simulated {
		return newService(s, metrics, tracer)
	})
}

func newService(s seed, metrics *telemetry.Metrics, tracer *telemetry.Tracer) *service {
	p, steps, protocol := servicePlanOf(s)
	w := &service{
		stage: newStage(p, metrics, tracer), steps: steps, protocol: protocol, net: new(kfake.VirtualNetwork), away: -1,
		writes: make(chan func(), disturbances+p.partitions), wrote: make(chan struct{}), looking: make(chan struct{}, 1),
		members: make([]*member, p.members), last: make([]*member, p.members), stored: commits{}, flying: map[flight]*push{},
	}
	w.cluster = must(kfake.NewCluster(
		kfake.NumBrokers(nodes), kfake.Ports(9092, 9093, 9094), kfake.ListenFn(w.net.Listen),
		kfake.SeedTopics(int32(p.partitions), topic), kfake.SeedTopics(1, letterTopic, receiptTopic),
		kfake.GroupMinSessionTimeout(time.Second),
		kfake.BrokerConfigs(map[string]string{
			"group.consumer.session.timeout.ms":    strconv.Itoa(int(session.Milliseconds())),
			"group.consumer.heartbeat.interval.ms": strconv.Itoa(int(session.Milliseconds() / 10)),
		}),
	))
	w.cluster.ControlKey(int16(kmsg.OffsetCommit), w.claimed)
	w.cluster.ControlKey(int16(kmsg.OffsetForLeaderEpoch), w.epochEnd)
	w.brokers = w.cluster.ListenAddrs()
	w.links = []*link{newLink(w.stage, w.net, 0)}
	for _, l := range w.logs {
		l.topicID = event.TopicID(w.cluster.TopicInfo(topic).TopicID)
	}
	return w
}

// run carries out the steps, heals the world and waits until all has come to rest.
func (w *service) run() error {
	over := false
	go w.write()
	for at := range w.plan.members {
		w.launch(at)
	}
	at := time.Duration(0)
	for _, s := range w.steps {
		at += s.after
		w.in(at, func() { w.take(s) })
	}
	w.in(at+time.Second, func() { w.heal(func() { over = true }) })
	for !over && w.sound() {
		w.next()
	}
	w.mendAll()
	for _, m := range w.members {
		if m != nil {
			m.end(true)
		}
	}
	w.ends.Wait()
	close(w.writes)
	<-w.wrote
	if over {
		w.finish()
	}
	w.cluster.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.check.err()
}

// client is one of the simulation's own, which no fault is meant for.
func (w *service) client(opts ...kgo.Opt) *kgo.Client {
	return must(kgo.NewClient(append(opts, kgo.SeedBrokers(w.brokers...), kgo.Dialer(w.links[0].dial),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))...))
}
