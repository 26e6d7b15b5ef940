package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
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
			if begun(a) && a.p != nil && a.p.Dirty() {
				parts = append(parts, a)
			}
		}
		g.mu.Unlock()
		g.send(parts, g.isLive)
		g.committing.Unlock()
	}
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
// flight. The callback in which it runs keeps the generation from ending.
func (g *Group) commitLast(parts []*assignment) {
	g.committing.Lock()
	defer g.committing.Unlock()
	g.send(parts, func(*assignment) bool { return true })
}

// errGone ends a commit of which nothing may be sent any more.
var errGone = errors.New("all partitions have gone meanwhile")

// send sends one OffsetCommit, fenced by the member's generation, with the cursors
// of the given partitions, once their receipts are acknowledged. A failed one is
// repeated with the next.
//
// The generation is the one that the member has when the request is made; a later
// generation may own a partition that an earlier one lost. So stillOurs is asked
// after that: what was lost before is left out, what is lost later is fenced.
func (g *Group) send(parts []*assignment, stillOurs func(*assignment) bool) {
	began := time.Now()
	commits := map[*assignment]delivery.Commit{}
	for _, a := range parts {
		c, err := a.p.Checkpoint()
		if err != nil {
			g.log.Error("encode checkpoint; nothing is committed", "topic", a.id.topic, "partition", a.id.id, "err", err)
		} else if stillOurs(a) {
			commits[a] = c
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.config.SessionTimeout)
	defer cancel()
	g.prove(ctx, began, commits)
	if len(commits) == 0 {
		return
	}
	offsets := map[string]map[int32]kgo.EpochOffset{}
	byID := map[partition]*assignment{}
	for a, c := range commits {
		if offsets[a.id.topic] == nil {
			offsets[a.id.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[a.id.topic][a.id.id] = kgo.EpochOffset{Epoch: c.Epoch, Offset: c.Offset}
		byID[a.id] = a
	}
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			t := &req.Topics[i]
			t.Partitions = slices.DeleteFunc(t.Partitions, func(p kmsg.OffsetCommitRequestTopicPartition) bool {
				return !stillOurs(byID[partition{t.Topic, p.Partition}])
			})
			for j := range t.Partitions {
				meta := commits[byID[partition{t.Topic, t.Partitions[j].Partition}]].Metadata
				t.Partitions[j].Metadata = &meta
			}
		}
		req.Topics = slices.DeleteFunc(req.Topics, func(t kmsg.OffsetCommitRequestTopic) bool { return len(t.Partitions) == 0 })
		if len(req.Topics) == 0 {
			return errGone
		}
		return nil
	})
	g.member.CommitOffsetsSync(ctx, offsets,
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if !errors.Is(err, errGone) {
				g.committed(began, byID, resp, err)
			}
		})
}

// prove writes the receipts of commits and drops those commits whose receipts are not
// acknowledged within half the time that the group waits for a silent member: so the
// commits of the others are not late.
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
			if err := g.proof.Write(ctx, c.Receipts); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[a] = err
				return
			}
			a.p.Saved()
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
// the response.
func (g *Group) committed(began time.Time, parts map[partition]*assignment, resp *kmsg.OffsetCommitResponse, err error) {
	if err != nil {
		for _, a := range parts {
			g.outcome(a, err)
		}
		g.onDone(time.Since(began), err)
		return
	}
	var first error
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			err := kerr.ErrorForCode(p.ErrorCode)
			if first == nil {
				first = err
			}
			if a := parts[partition{t.Topic, p.Partition}]; a != nil {
				g.outcome(a, err)
			}
		}
	}
	g.onDone(time.Since(began), first)
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
		return
	}
	a.p.Uncommitted()
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
