package kafka

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/delivery"
)

// CommitNow asks for a commit without waiting for it.
func (g *Group) CommitNow() {
	select {
	case g.now <- struct{}{}:
	default:
	}
}

func (g *Group) commitLoop(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-g.stop:
			return
		case <-ticker.C:
		case <-g.now:
		}
		g.committing.Lock()
		g.mu.Lock()
		var parts []*assignment
		for _, a := range g.live {
			if a.noteOwed() {
				parts = append(parts, a)
			}
		}
		g.mu.Unlock()
		g.send(context.Background(), parts, g.isLive)
		g.committing.Unlock()
	}
}

// noteOwed reports whether anything settled since the last checkpoint was taken, and
// notes since when it waits for a commit. Group.mu is held.
func (a *assignment) noteOwed() bool {
	if !begun(a) || a.p == nil || !a.p.Dirty() {
		return false
	}
	if a.owed.IsZero() {
		a.owed = time.Now()
	}
	return true
}

// CommitAge is how long the oldest settling that no commit has recorded has waited for
// one, by at most an interval too short; 0 if there is none. A commit that hangs counts:
// what it has taken is owed until the broker has acknowledged it.
func (g *Group) CommitAge() (age time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range g.live {
		if a.noteOwed(); !a.owed.IsZero() {
			age = max(age, time.Since(a.owed))
		}
	}
	return age
}

func begun(a *assignment) bool {
	if a.begun == nil {
		return false
	}
	select {
	case <-a.begun:
		return true
	default:
		return false
	}
}

// commitLast commits what a revoke has drained, after the commit that may be in
// flight. Until the callback in which it runs returns, the group gives none of it to
// another member, so a commit that a rebalance gets in the way of is sent again.
func (g *Group) commitLast(parts []*assignment) {
	g.committing.Lock()
	defer g.committing.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), g.config.SessionTimeout)
	defer cancel()
	for g.send(ctx, parts, func(*assignment) bool { return true }) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lastPause):
		}
	}
}

// lastPause is the time after which a revoke's last commit is sent again.
const lastPause = 100 * time.Millisecond

// send sends one OffsetCommit, fenced by the member's generation, with the cursors
// of the given partitions, once their receipts are acknowledged. A failed one is
// repeated with the next; what is left out, because it is not ours any more, stays
// uncommitted. It returns true if the group was just between two generations.
//
// The request is our own: kgo's lets none through from a JoinGroup to the end of the
// SyncGroup, which can take as long as the slowest member's drain. Kafka takes commits
// of the generation that ends until the next one has begun.
func (g *Group) send(ctx context.Context, parts []*assignment, stillOurs func(*assignment) bool) (between bool) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, g.config.SessionTimeout)
	defer cancel()
	commits := map[*assignment]delivery.Commit{}
	for _, a := range parts {
		c, err := a.p.Checkpoint()
		switch {
		case err != nil:
			g.log.ErrorContext(ctx, "encode checkpoint; nothing is committed", "topic", a.id.topic, "partition", a.id.id, "err", err)
		case stillOurs(a):
			commits[a] = c
		default:
			a.p.Uncommitted()
		}
	}
	g.prove(ctx, began, commits)
	req := g.request(commits, stillOurs)
	if len(req.Topics) == 0 {
		return false
	}
	resp, err := req.RequestWith(ctx, g.member)
	return g.committed(began, commits, resp, err)
}

// request makes the request for commits.
//
// A later generation may own a partition that an earlier one lost. So stillOurs is
// asked after the generation was read: what was lost before is left out of the commits
// too, what is lost later is fenced. What the group gave to the member under an earlier
// id is lost, though nothing has said so yet.
func (g *Group) request(commits map[*assignment]delivery.Commit, stillOurs func(*assignment) bool) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = g.config.Group
	req.MemberID, req.Generation = g.member.GroupMetadata()
	if g.config.InstanceID != "" {
		req.InstanceID = &g.config.InstanceID
	}
	topics := map[string]*kmsg.OffsetCommitRequestTopic{}
	for a, c := range commits {
		if a.member != req.MemberID || !stillOurs(a) {
			delete(commits, a)
			a.p.Uncommitted()
			continue
		}
		t := topics[a.id.topic]
		if t == nil {
			t = new(kmsg.NewOffsetCommitRequestTopic())
			t.Topic, t.TopicID = a.id.topic, a.p.TopicID
			topics[a.id.topic] = t
		}
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = a.id.id, c.Offset, c.Epoch, &c.Metadata
		t.Partitions = append(t.Partitions, p)
	}
	for _, t := range topics {
		req.Topics = append(req.Topics, *t)
	}
	return req
}

// prove writes the receipts of commits and drops those commits whose receipts are not
// acknowledged within half the time that the group waits for a silent member: so the
// commits of the others are not late. A later commit waits only for what is left: after
// an outage of their topic a member may owe more than it can write in that time.
func (g *Group) prove(ctx context.Context, began time.Time, commits map[*assignment]delivery.Commit) {
	if g.proof == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.config.SessionTimeout/2)
	defer cancel()
	var mu sync.Mutex
	failed := map[*assignment]error{}
	var wg sync.WaitGroup
	for a, c := range commits {
		wg.Go(func() {
			left, err := g.proof.Write(ctx, c.Receipts)
			a.p.Saved(left...)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[a] = err
			}
		})
	}
	wg.Wait()
	for a, err := range failed {
		delete(commits, a)
		g.outcome(a, err)
		g.onDone(time.Since(began), err)
	}
}

// isLive reports whether the group still gives the assignment to this member.
func (g *Group) isLive(a *assignment) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.live[a.id] == a
}

// committed looks at the errors, of which the ones per partition are only inside
// the response. It returns true if the group was between two generations.
func (g *Group) committed(began time.Time, commits map[*assignment]delivery.Commit, resp *kmsg.OffsetCommitResponse, err error) (between bool) {
	failed := err
	for a := range commits {
		refused := failed
		if failed == nil {
			refused = refusal(resp, a)
		}
		between = between || isBetween(refused)
		err = cmp.Or(err, refused)
		g.outcome(a, refused)
	}
	g.onDone(time.Since(began), err)
	return between
}

// refusal is the error that the broker answered for the partition of an assignment.
// From version 10 of the request on a topic has an id in place of its name.
func refusal(resp *kmsg.OffsetCommitResponse, a *assignment) error {
	for _, t := range resp.Topics {
		if t.Topic != a.id.topic && (t.Topic != "" || t.TopicID != a.p.TopicID) {
			continue
		}
		for _, p := range t.Partitions {
			if p.Partition == a.id.id {
				return kerr.ErrorForCode(p.ErrorCode)
			}
		}
	}
	return errors.New("the answer lacks the partition")
}

// isBetween reports whether an error tells that the member knows of one generation
// and the group of the next, or that the next is being made: the same commit is good
// as soon as both agree.
func isBetween(err error) bool {
	return errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.StaleMemberEpoch)
}

// outcome notes how the commit of one partition ended. A refusal is logged when it
// is a new one; the metrics count all.
//
// Metadata that the broker has no room for is refused until its limit is raised: a
// commit without it would push everything above the lowest cursor again.
func (g *Group) outcome(a *assignment, err error) {
	log := g.log.With("topic", a.id.topic, "partition", a.id.id)
	if err == nil {
		if a.refused != nil {
			log.Info("offset is committed again")
		}
		a.refused = nil
		g.mu.Lock()
		a.owed = time.Time{}
		g.mu.Unlock()
		return
	}
	a.p.Uncommitted()
	if isBetween(err) {
		log.Debug("commit offset: the group is between two generations; the next commit repeats it", "err", err)
		return
	}
	if a.refused != nil && a.refused.Error() == err.Error() {
		return
	}
	a.refused = err
	if errors.Is(err, kerr.OffsetMetadataTooLarge) {
		log.Error("commit offset: the broker takes less metadata than the cursors need, so nothing is committed until "+
			"its offset.metadata.max.bytes is raised; deliveries go on, and a restart would repeat them",
			"needed", checkpoint.DefaultLimit, "err", err)
		return
	}
	log.Warn("commit offset; each commit repeats it until it succeeds", "err", err)
}
