//go:build synctests

package simulation

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/delivery"
)

// trouble is a kind of disturbance.
type trouble int

const (
	publishing trouble = iota // n records to partition who
	aborting                  // a transaction of n records in partition who
	retaining                 // partition who loses the first n percent of its log
	electing                  // partition who has another leader
	moodiness                 // target who behaves in the n-th manner, for a while
	crashing                  // member who, back after a while
	restarting                // the same, in good order
	stalling                  // the link of member who lets nothing through for a while
	cutting                   // the link of member who is down for a while
	leaving                   // node who is away for a while
	rehashing                 // the group has another coordinator
	faulting                  // requests of the n-th kind fail for a while
	blinding                  // the schema registry is away for a while
	troubles
)

func (t trouble) String() string {
	return [...]string{
		"publish", "abort", "retain", "elect", "mood", "crash", "restart", "stall", "cut", "node leaves", "rehash", "fault", "no registry",
	}[t]
}

// disturbance is one step of a seed's plan.
type disturbance struct {
	after time.Duration // since the one before
	do    trouble
	who   int
	n     int
	lasts time.Duration
}

const disturbances = 30

// servicePlanOf draws the plan of a seed, its steps and the group's protocol. Its
// targets have short names, so that no cursor lacks room.
func servicePlanOf(s seed) (p *plan, ds []disturbance, protocol string) {
	d := &source{seed: s}
	p = &plan{seed: s, partitions: 1 + d.next(4), members: 1 + d.next(3), static: d.next(3) == 0}
	protocol = oneOf(d, "classic", "consumer")
	p.memory = oneOf[int64](d, 0, 256<<10) // with less, feeds pause all the time
	for i := range 1 + d.next(3) {
		t := targetOf(d, fmt.Sprintf("target%d", i))
		t.settings.Start = delivery.Start{} // nobody tells the checker where a member begins
		p.targets = append(p.targets, t)
	}
	for range disturbances {
		t := disturbance{
			after: d.pause(oneOf(d, 100*time.Millisecond, time.Second, 10*time.Second)),
			do:    oneOf(d, publishing, publishing, moodiness, trouble(d.next(int(troubles))), trouble(d.next(int(troubles)))),
			n:     1 + d.next(99), lasts: d.pause(oneOf(d, 500*time.Millisecond, 5*time.Second, 30*time.Second)),
		}
		switch t.do {
		case publishing:
			t.who, t.n = d.next(p.partitions), 1+d.next(oneOf(d, 3, 20, 60))
		case aborting:
			t.who, t.n = d.next(p.partitions), d.next(3)
		case retaining, electing:
			t.who = d.next(p.partitions)
		case moodiness:
			t.who, t.n = d.next(len(p.targets)), d.next(int(manners))
		case crashing, restarting, stalling, cutting:
			t.who = d.next(p.members)
		case leaving:
			t.who = d.next(nodes)
		default:
		}
		ds = append(ds, t)
	}
	return p, ds, protocol
}

// kinds are the faults of the brokers. All requests that match get it, or half of them.
var kinds = []kfake.Fault{
	{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.NotCoordinator},
	{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.CoordinatorLoadInProgress},
	{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.RequestTimedOut}, // the broker has done it
	{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.OffsetMetadataTooLarge},
	{Keys: []kmsg.Key{kmsg.OffsetFetch}, Err: kerr.CoordinatorLoadInProgress},
	{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.UnknownMemberID},
	{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.RebalanceInProgress},
	{Keys: []kmsg.Key{kmsg.Heartbeat, kmsg.ConsumerGroupHeartbeat}, TopLevel: true, Err: kerr.NotCoordinator},
	{Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat}, TopLevel: true, Err: kerr.FencedMemberEpoch},
	{Keys: []kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup}, TopLevel: true, Err: kerr.CoordinatorNotAvailable},
	{Keys: []kmsg.Key{kmsg.SyncGroup}, TopLevel: true, Err: kerr.RebalanceInProgress},
	{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.NotLeaderForPartition},
	{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.KafkaStorageError},
	{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.OffsetOutOfRange},
	{Keys: []kmsg.Key{kmsg.Produce}, Topic: letterTopic, Err: kerr.NotEnoughReplicas},
	{Keys: []kmsg.Key{kmsg.Produce}, Topic: letterTopic, Err: kerr.NotEnoughReplicasAfterAppend},
	{Keys: []kmsg.Key{kmsg.Produce}, Topic: receiptTopic, Err: kerr.NotEnoughReplicas},
	{Keys: []kmsg.Key{kmsg.Produce}, Topic: receiptTopic, Err: kerr.RequestTimedOut},
	{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: topic, Err: kerr.NotLeaderForPartition},
	{Keys: []kmsg.Key{kmsg.Metadata}, Topic: topic, Err: kerr.LeaderNotAvailable},
}
