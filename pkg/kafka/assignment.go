package kafka

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/delivery"
)

// This file is what the group gives the member and takes from it.

// assignment is one partition from the moment that the group assigns it until it
// is revoked or lost.
type assignment struct {
	id     partition
	member string // the id under which the group gave it to us
	ctx    context.Context
	cancel context.CancelFunc
	// begun is closed when p and r are set, or will never be. Nil until offsets came.
	// A restart sets all three anew.
	begun chan struct{}
	p     *delivery.Partition
	r     *reader
	// refused is why the last commit was, nil if it was not. Like a commit, it is
	// guarded by Group.committing.
	refused error
	// owed is since when something has settled that no commit has recorded, as far as the
	// committer and CommitAge have looked; zero if nothing has. Group.mu guards it.
	owed time.Time
}

// assigned is called with what the group adds, at the first time maybe nothing.
//
// A member that the group had forgotten may find out only when it joins again. kgo then
// keeps what it had, under another member id, unless the group gave it to others. It may
// have been another's meanwhile, so it begins anew.
//
// A topic that the member left and took up again (see joinAgain) may be given to it without
// a revoke in between. What its partitions settled is committed here, before kgo asks for
// the offsets to begin with.
func (g *Group) assigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	g.joined.Store(true)
	forgotten := g.takeForgotten()
	g.finish(forgotten, false)
	g.finish(g.takeAgain(added), true)
	if len(added)+len(forgotten) > 0 {
		g.session.assigned()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	member, _ := g.member.GroupMetadata()
	give := func(id partition) *assignment {
		a := &assignment{id: id, member: member}
		a.ctx, a.cancel = context.WithCancel(context.Background())
		g.live[id] = a
		delete(g.gone, id.topic)
		return a
	}
	for topic, ids := range added {
		for _, id := range ids {
			give(partition{topic, id})
		}
	}
	others := g.newCensus()
	for _, old := range forgotten {
		a := give(old.id)
		a.begun = make(chan struct{})
		go g.beginLate(a, others, nil)
	}
}

// takeForgotten takes the assignments of another member id out of those that are live.
func (g *Group) takeForgotten() (all []*assignment) {
	g.mu.Lock()
	defer g.mu.Unlock()
	member, _ := g.member.GroupMetadata()
	for id, a := range g.live {
		if a.member != member {
			delete(g.live, id)
			all = append(all, a)
		}
	}
	return all
}

// takeAgain takes out of the live assignments those that the group gives anew.
func (g *Group) takeAgain(added map[string][]int32) (all []*assignment) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for topic, ids := range added {
		for _, id := range ids {
			if a := g.live[partition{topic, id}]; a != nil {
				delete(g.live, a.id)
				all = append(all, a)
			}
		}
	}
	return all
}

// fetched begins the assignments whose committed offsets have come.
func (g *Group) fetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	others := g.newCensus()
	again := map[partition]bool{}
	for _, group := range resp.Groups {
		for _, t := range group.Topics {
			for _, p := range t.Partitions {
				id := partition{t.Topic, p.Partition}
				a, err := g.live[id], kerr.ErrorForCode(p.ErrorCode)
				if again[id] = errors.Is(err, kerr.UnstableOffsetCommit); again[id] || a == nil || a.begun != nil {
					continue // kgo asks again, revoked meanwhile, or begun before
				}
				a.begun = make(chan struct{})
				if err != nil {
					go g.beginLate(a, others, err)
					continue
				}
				meta := ""
				if p.Metadata != nil {
					meta = *p.Metadata
				}
				go g.begin(a, others, p.Offset, meta)
			}
		}
	}
	// kgo does not ask again for what an answer lacks, or tells by an id that it does not know.
	for id, a := range g.live {
		if a.begun == nil && !again[id] {
			a.begun = make(chan struct{})
			go g.beginLate(a, others, nil)
		}
	}
	return nil
}

// begin makes the Partition of an assignment and has it read.
func (g *Group) begin(a *assignment, others *census, committed int64, meta string) {
	defer close(a.begun)
	for {
		err := g.assign(a, others, delivery.Assignment{
			Topic: a.id.topic, Partition: a.id.id, Committed: committed, Metadata: meta,
		})
		if err == nil {
			return
		}
		g.log.Warn("learn about an assigned partition; trying again", "topic", a.id.topic, "partition", a.id.id, "err", err)
		select {
		case <-a.ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

func (g *Group) assign(a *assignment, others *census, as delivery.Assignment) error {
	if err := g.survey(a.ctx, &as); err != nil {
		return err
	}
	if as.Committed < 0 {
		var err error
		if as.Added, err = others.reads(a.ctx, as.Topic); err != nil {
			return err
		}
	}
	r := &reader{topicID: as.TopicID}
	p, err := g.engine.Assign(a.ctx, as, source{g, a, r})
	if err != nil {
		return err
	}
	a.p, a.r = p, r
	from, epoch := p.Start()
	_, generation := g.member.GroupMetadata()
	g.log.Info("partition assigned", "topic", as.Topic, "partition", as.Partition, "committed", as.Committed, "start", from, "generation", generation)
	r.take, r.diverge = p.Take, p.Diverge
	g.feed.add(a.id, r, from, epoch)
	return nil
}

// release ends assignments. Revoked ones are drained and committed; lost ones, and those
// that were given to the member under an earlier id, may belong to another member already,
// so nothing of them may be committed.
func (g *Group) release(gone map[string][]int32, revoked bool) {
	g.releasing.Lock()
	defer g.releasing.Unlock()
	var released, forgotten []*assignment
	g.mu.Lock()
	member, _ := g.member.GroupMetadata()
	for topic, ids := range gone {
		for _, id := range ids {
			a := g.live[partition{topic, id}]
			switch {
			case a == nil:
				continue
			case a.member == member:
				released = append(released, a)
			default:
				forgotten = append(forgotten, a)
			}
			delete(g.live, a.id)
		}
	}
	g.mu.Unlock()
	g.finish(forgotten, false)
	g.finish(released, revoked)
}

// finish ends assignments that were taken out of the live ones. One that is restarted, or
// about to begin, keeps none of the others reading and pushing meanwhile.
func (g *Group) finish(released []*assignment, commit bool) {
	var now []*assignment
	var late sync.WaitGroup
	for _, a := range released {
		a.cancel()
		switch {
		case begun(a):
			now = append(now, a)
		case a.begun != nil:
			late.Go(func() {
				<-a.begun
				g.end([]*assignment{a}, commit)
			})
		}
	}
	g.end(now, commit)
	late.Wait()
	parts := withPartition(released)
	if len(parts) == 0 {
		return
	}
	if commit {
		g.commitLast(parts)
	}
	for _, a := range parts {
		g.log.Info("partition released", "topic", a.id.topic, "partition", a.id.id, "committed", commit)
	}
}

// end ends the Partitions of assignments that have begun.
func (g *Group) end(all []*assignment, drain bool) {
	parts := withPartition(all)
	if len(parts) == 0 {
		return
	}
	ids := make([]partition, len(parts))
	for i, a := range parts {
		ids[i] = a.id
	}
	g.feed.remove(ids)
	var wg sync.WaitGroup
	for _, a := range parts {
		wg.Go(func() {
			if drain {
				a.p.Drain(g.drain)
			} else {
				a.p.Abort()
			}
		})
	}
	wg.Wait()
}

func withPartition(all []*assignment) (parts []*assignment) {
	for _, a := range all {
		if a.p != nil {
			parts = append(parts, a)
		}
	}
	return parts
}
