//go:build synctests

package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// mendAll ends all trouble of the brokers and the links.
func (w *service) mendAll() {
	for _, h := range w.faults {
		h.Remove()
	}
	w.rejoin()
	for _, l := range w.links {
		l.mend()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.members {
		if m != nil {
			m.silent = time.Time{}
		}
	}
}

// heal ends all trouble and calls rest once every cursor has come to the end of its log.
// Commits and their fetching are the last to heal, and a member restarts then: what fails
// there nothing else puts right.
func (w *service) heal(rest func()) {
	w.mendAll()
	until := time.Now().Add(lastTrouble)
	for i, f := range []kfake.Fault{
		{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.OffsetMetadataTooLarge},
		{Keys: []kmsg.Key{kmsg.OffsetFetch}, Err: kerr.TopicAuthorizationFailed},
	} {
		n := 0
		f.Count, f.When = -1, func(kmsg.Request) bool {
			n++
			return time.Now().Before(until) && w.oneIn(2, forFault, -1-i, n)
		}
		w.cluster.Fault(f)
	}
	if m := w.members[0]; m != nil {
		m.end(true)
		w.in(time.Second, func() { w.launch(0) })
	}
	for i := range w.logs {
		w.writes <- func() { w.publish(i, 1) } // so that there is something to commit
	}
	w.mu.Lock()
	w.note("-- heal")
	w.registryBack = time.Time{}
	for _, s := range w.systems {
		s.manner = well
	}
	w.mu.Unlock()
	w.in(10*time.Minute, w.recount)
	patience := time.Now().Add(time.Hour)
	var look func()
	look = func() {
		info := w.cluster.GroupInfo(group)
		w.mu.Lock()
		defer w.mu.Unlock()
		behind := w.behind()
		switch {
		case behind == "":
			rest()
		case time.Now().After(patience):
			w.note("the group is %+v", info)
			w.check.fail("an hour after the last trouble, %s", behind)
		default:
			w.in(time.Second, look)
		}
	}
	w.in(10*time.Second, look)
}

// recount has all members leave for longer than a rebalance may take, if the cluster has
// lost count of who has joined: it then waits for another for ever, which Kafka does not.
func (w *service) recount() {
	if info := w.cluster.GroupInfo(group); info == nil || info.State != "PreparingRebalance" {
		return
	}
	for at, m := range w.members {
		if m != nil {
			m.end(true)
		}
		w.in(2*kafka.RebalanceTimeout, func() { w.launch(at) })
	}
}

// behind names a cursor that has not come to the last record. Mu is held.
func (w *service) behind() string {
	for i, l := range w.logs {
		end := l.end()
		for end > 0 && l.entries[end-1] == nil {
			end--
		}
		s := w.stored[i]
		if s == nil {
			return fmt.Sprintf("partition %d has no commit", i)
		}
		for _, lane := range s.lanes {
			if lane.Cursor.Next() < end {
				return fmt.Sprintf("%s has come to %d/%d of %d", lane.Name, i, lane.Cursor.Next(), end)
			}
		}
	}
	return ""
}

// finish checks what all has come to, and that it can be proven, and could each time
// that it was committed.
func (w *service) finish() {
	end := w.cluster.PartitionInfo(receiptTopic, 0).HighWatermark
	known := proof{}
	var all []written
	c := w.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{receiptTopic: {0: kgo.NewOffset().AtStart()}}))
	defer c.Close()
	for next := int64(0); next < end; {
		c.PollFetches(context.Background()).EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			all = append(all, written{r.Timestamp, *must(receipt.Decode(r.Key, r.Value))})
			known.add(all[len(all)-1].Receipt)
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.claimsProven(all)
	w.check.proof = known
	for i, l := range w.logs {
		w.check.finish(i)
		for target := range w.check.ledgers {
			for offset := range l.end() {
				w.check.proven("in the end", target, i, offset)
			}
		}
	}
}
