//go:build synctests

package simulation

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// This file is what the checker demands of whole members. Nobody tells it who owns a
// partition: it goes by what the brokers have, what reaches them, and what the external
// systems see.

// push is an attempt of a member.
type push struct {
	m *member
	flight
	d *connector.Delivery
}

// check is called when the attempt begins.
func (t *push) check(before map[int64]bool) {
	w, c := t.m.w, t.m.w.check
	partition, offset := int(t.d.Event.Partition), t.d.Event.Offset
	l, e := c.logs[partition], c.logs[partition].entries[offset]
	where := fmt.Sprintf("push of %d/%d to %s by life %d", partition, offset, t.target, t.m.life)
	if e != nil && !c.wanted(e, t.target) {
		c.fail("%s: the target does not want it", where)
	}
	if want := fmt.Sprintf("%s/%d/%d/%s", l.topicID, partition, offset, t.target); t.d.ID != want {
		c.fail("%s: idempotency key is %s", where, t.d.ID)
	}
	if lane := w.stored[partition].lane(t.target); lane != nil && lane.Cursor.Settled(offset) {
		c.fail("%s: the group has a commit that says it has settled", where)
	}
	if since := time.Since(t.m.silent); !t.m.silent.IsZero() && since > session-c.plans[c.targets[t.target]].settings.Timeout {
		c.fail("%s: the group has not heard of the member for %v", where, since)
	}
	if other, busy := w.flying[t.flight]; busy && !other.m.dead && (other.m != t.m || !before[other.d.Event.Offset]) {
		c.fail("%s: %d of the same key is in flight, from life %d", where, other.d.Event.Offset, other.m.life)
	}
	if newest, ok := t.m.newest[partition][t.flight]; ok && newest > offset {
		c.fail("%s: %d of the same key has settled", where, newest)
	}
	if before, ok := c.version(partition, offset, before); ok && !c.settled(t.target, partition, before) {
		c.fail("%s: %d of the same key has not settled", where, before)
	}
	w.flying[t.flight] = t
	c.ledgers[t.target][partition].at(offset).tries++
}

// version returns the offset of the version of a key before the one at an offset, unless
// the same call carries it.
func (c *checker) version(partition int, offset int64, together map[int64]bool) (int64, bool) {
	l := c.logs[partition]
	e := l.entries[offset]
	if e == nil || e.Key == nil {
		return 0, false
	}
	for at := offset - 1; at >= l.start; at-- {
		if p := l.entries[at]; p != nil && string(p.Key) == string(e.Key) {
			return at, !together[at]
		}
	}
	return 0, false
}

func (t *push) applied() {
	c, offset := t.m.w.check, t.d.Event.Offset
	l := c.ledgers[t.target][t.d.Event.Partition]
	tr := l.at(offset)
	lane := t.m.w.stored[int(t.d.Event.Partition)].lane(t.target)
	newest, ok := l.first[t.key]
	// A restart that knows of no push of the newer one may push what was superseded.
	forgotten := c.plans[c.targets[t.target]].latest() && (lane == nil || !lane.Cursor.Settled(newest))
	if ok && newest > offset && !tr.applied && !tr.lettered && !forgotten {
		c.fail("push of %d/%d to %s arrived after %d of the same key", t.d.Event.Partition, offset, t.target, newest)
	}
	tr.applied = true
	l.first[t.key] = max(l.first[t.key], offset)
	l.last[t.key] = offset
}

func (t *push) answered(err error) {
	w, partition, offset := t.m.w, int(t.d.Event.Partition), t.d.Event.Offset
	if w.flying[t.flight] == t {
		delete(w.flying, t.flight)
	}
	tr := w.check.ledgers[t.target][partition].at(offset)
	if err != nil {
		tr.failures++
		return
	}
	tr.acked = true
	if t.m.anew[partition] {
		return
	}
	if t.m.newest[partition] == nil {
		t.m.newest[partition] = map[flight]int64{}
	}
	t.m.newest[partition][t.flight] = max(t.m.newest[partition][t.flight], offset)
}

// commits is the last commit of each partition that the group has.
type commits map[int]*stored

type stored struct {
	kfake.GroupCommit
	lanes []checkpoint.Lane
}

func (s *stored) lane(target string) *checkpoint.Lane {
	if s == nil {
		return nil
	}
	i := slices.IndexFunc(s.lanes, func(l checkpoint.Lane) bool { return l.Name == target })
	if i < 0 {
		return nil
	}
	return &s.lanes[i]
}

// claimed looks at a commit that reaches the group, which may refuse it: it must be true
// all the same. It is called by the cluster.
func (w *service) claimed(r kmsg.Request) (kmsg.Response, error, bool) {
	w.cluster.KeepControl()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range r.(*kmsg.OffsetCommitRequest).Topics {
		for _, p := range t.Partitions {
			where := fmt.Sprintf("commit of %d/%d", p.Partition, p.Offset)
			w.note("%s comes", where)
			for _, l := range w.decoded(where, int(p.Partition), p.Offset, *p.Metadata) {
				w.check.checkCursor(where, l.Name, int(p.Partition), l.Cursor, math.MaxInt64)
				w.claims = append(w.claims, claim{time.Now(), where, int(p.Partition), l})
			}
		}
	}
	return nil, nil, false
}

// claim is one cursor of a commit that reached the group.
type claim struct {
	at        time.Time
	where     string
	partition int
	checkpoint.Lane
}

// written is a receipt that the topic has, with the time at which it was handed to the client.
type written struct {
	at time.Time
	receipt.Receipt
}

// claimsProven checks that no commit came before the receipts of what it claims. One of a
// later version will do.
func (w *service) claimsProven(receipts []written) {
	slices.SortStableFunc(receipts, func(a, b written) int { return a.at.Compare(b.at) })
	w.check.proof = proof{}
	type lane struct {
		target    string
		partition int
	}
	proven := map[lane]int64{} // all below is
	for _, c := range w.claims {
		for len(receipts) > 0 && !receipts[0].at.After(c.at) {
			w.check.proof.raise(receipts[0].Receipt)
			receipts = receipts[1:]
		}
		of := lane{c.Name, c.partition}
		for offset := proven[of]; offset < c.Cursor.Highest(); offset++ {
			if c.Cursor.Settled(offset) {
				w.check.proven(c.where, c.Name, c.partition, offset)
			}
		}
		proven[of] = max(proven[of], c.Cursor.Next())
	}
}

// raise keeps the receipt of the highest offset, whenever it was written.
func (p proof) raise(r receipt.Receipt) {
	k := keyOf(&r)
	if old, ok := p[k]; !ok || r.Source.Offset > old.Source.Offset {
		p[k] = r
	}
}

// epochEnd answers where a leader epoch ends: at the end of the log, which is never cut
// here. The cluster by itself knows no epoch under which nothing was written.
func (w *service) epochEnd(r kmsg.Request) (kmsg.Response, error, bool) {
	w.cluster.KeepControl()
	w.mu.Lock()
	defer w.mu.Unlock()
	resp := r.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range r.(*kmsg.OffsetForLeaderEpochRequest).Topics {
		to := kmsg.NewOffsetForLeaderEpochResponseTopic()
		to.Topic = t.Topic
		for _, p := range t.Partitions {
			end := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			end.Partition, end.LeaderEpoch, end.EndOffset = p.Partition, p.LeaderEpoch, w.logs[p.Partition].end()
			to.Partitions = append(to.Partitions, end)
		}
		resp.Topics = append(resp.Topics, to)
	}
	return resp, nil, true
}

// decoded returns the cursors of a commit, of which there must be one for each target.
func (w *service) decoded(where string, partition int, offset int64, meta string) []checkpoint.Lane {
	cp, err := checkpoint.Decode(meta, offset, w.logs[partition].topicID)
	if err != nil {
		w.check.fail("%s: %v", where, err)
		return nil
	}
	for _, s := range w.systems {
		if !slices.ContainsFunc(cp.Lanes, func(l checkpoint.Lane) bool { return l.Name == s.plan.name }) {
			w.check.fail("%s: %s is missing", where, s.plan.name)
		}
	}
	return cp.Lanes
}

// look looks at what the group has, after a commit that ended with err. What had settled
// in a former commit has in each later one.
func (w *service) look(m *member, err error) {
	w.looking <- struct{}{}
	defer func() { <-w.looking }()
	info := w.cluster.GroupInfo(group)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("member %d life %d has committed: %v", m.place, m.life, err)
	if info == nil {
		return
	}
	for i := range w.logs {
		now, ok := info.Commits[topic][int32(i)]
		was := w.stored[i]
		if !ok || was != nil && was.Offset == now.Offset && was.Metadata == now.Metadata {
			continue
		}
		where := fmt.Sprintf("commit of %d/%d", i, now.Offset)
		w.note("the group has %s", where)
		next := &stored{now, w.decoded(where, i, now.Offset, now.Metadata)}
		for _, l := range next.lanes {
			old := was.lane(l.Name)
			for offset := range now.Offset + 1_000 {
				if old != nil && old.Cursor.Settled(offset) && !l.Cursor.Settled(offset) {
					w.check.fail("%s: %s takes back %d, which had settled", where, l.Name, offset)
					break
				}
			}
		}
		w.stored[i] = next
	}
}
