package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/delivery"
	"github.com/hms-sme/policysync/pkg/event"
)

// source is what one Partition asks of the broker and of the group.
type source struct {
	g *Group
	a *assignment
	r *reader
}

var _ delivery.Source = source{}

// EpochEnd implements [delivery.Source].
func (s source) EpochEnd(ctx context.Context, epoch int32) (int64, error) {
	var req kadm.OffsetForLeaderEpochRequest
	req.Add(s.a.id.topic, s.a.id.id, epoch)
	resp, err := s.g.admin.OffsetForLeaderEpoch(ctx, req)
	end := resp[s.a.id.topic][s.a.id.id]
	if err = errors.Join(err, end.Err); err != nil {
		return 0, fmt.Errorf("ask for the end of leader epoch %d: %w", epoch, err)
	}
	return end.EndOffset, nil
}

// OffsetAt implements [delivery.Source].
func (s source) OffsetAt(ctx context.Context, at time.Time) (int64, error) {
	found, err := s.g.offset(ctx, s.a.id, at.UnixMilli())
	if err == nil && found.Offset < 0 { // nothing is newer
		found, err = s.g.offset(ctx, s.a.id, atEnd)
	}
	return found.Offset, err
}

// Resume implements [delivery.Source].
func (s source) Resume() { s.g.feed.resume(s.a.id, s.r) }

// Diverged implements [delivery.Source].
func (s source) Diverged(cause error) {
	s.g.restarts.Go(func() { s.g.restart(s, cause) })
}

// What offset may be asked for besides a time in milliseconds.
const (
	atStart = -2
	atEnd   = -1
)

// offset asks for one offset of one partition. It asks the partition's leader alone:
// another broker that is away is no reason to wait.
func (g *Group) offset(ctx context.Context, id partition, at int64) (found kmsg.ListOffsetsResponseTopicPartition, err error) {
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = id.id, at
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic, t.Partitions = id.topic, append(t.Partitions, p)
	req := kmsg.NewPtrListOffsetsRequest()
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, g.member)
	switch {
	case err != nil:
	case len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1:
		err = errors.New("the answer is not about the partition")
	default:
		found = resp.Topics[0].Partitions[0]
		err = kerr.ErrorForCode(found.ErrorCode)
	}
	if err != nil {
		err = fmt.Errorf("list offsets: %w", err)
	}
	return found, err
}

// survey completes an assignment with what the cluster knows of the partition.
func (g *Group) survey(ctx context.Context, a *delivery.Assignment) error {
	topics, err := g.admin.ListTopics(ctx, a.Topic)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		return fmt.Errorf("describe topic: %w", err)
	}
	a.TopicID = event.TopicID(topics[a.Topic].ID)
	id := partition{a.Topic, a.Partition}
	start, err := g.offset(ctx, id, atStart)
	if err != nil {
		return err
	}
	end, err := g.offset(ctx, id, atEnd)
	if err != nil {
		return err
	}
	a.LogStart, a.LogEnd, a.EndEpoch = start.Offset, end.Offset, end.LeaderEpoch
	return nil
}

// beginLate begins an assignment whose committed offset did not come with it, or came as
// an error. kgo leaves such a partition alone for as long as it is assigned.
func (g *Group) beginLate(a *assignment, others *census, err error) {
	for {
		if err == nil {
			var offset int64
			var meta string
			if offset, meta, err = g.commitOf(a); err == nil {
				g.begin(a, others, offset, meta)
				return
			}
		}
		g.log.Error("fetch the committed offset of an assigned partition; trying again",
			"topic", a.id.topic, "partition", a.id.id, "err", err)
		select {
		case <-a.ctx.Done():
			close(a.begun)
			return
		case <-time.After(time.Second):
		}
		err = nil
	}
}

// commitOf asks for the group's commit of one partition by name: a request for all that
// the group has leaves out what we may not read.
func (g *Group) commitOf(a *assignment) (offset int64, meta string, err error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = g.config.Group
	wanted := kmsg.NewOffsetFetchRequestTopic()
	wanted.Topic, wanted.Partitions = a.id.topic, []int32{a.id.id}
	req.Topics = append(req.Topics, wanted)
	resp, err := req.RequestWith(a.ctx, g.member)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return 0, "", err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, "", errors.New("the answer lacks the partition")
	}
	p := resp.Topics[0].Partitions[0]
	if p.Metadata != nil {
		meta = *p.Metadata
	}
	return p.Offset, meta, kerr.ErrorForCode(p.ErrorCode)
}

// restart ends a Partition whose log is another than the one it was reading, and
// begins another with its cursors, which are held against the log then. What settles
// while the first is drained counts, as far as the log still has it.
func (g *Group) restart(s source, cause error) {
	a := s.a
	g.mu.Lock()
	before := a.begun
	g.mu.Unlock()
	<-before
	g.committing.Lock() // no commit in flight looks at the Partition
	g.mu.Lock()
	ours := g.live[a.id] == a && a.r == s.r && a.begun == before
	if ours {
		a.begun = make(chan struct{})
	}
	g.mu.Unlock()
	g.committing.Unlock()
	if !ours {
		return // released, or restarted already
	}
	p := a.p
	g.log.Error("the log is not the one that was read; its end is looked for", "topic", a.id.topic, "partition", a.id.id, "err", cause)
	g.feed.remove([]partition{a.id})
	p.Drain(g.drain)
	if !errors.Is(cause, kerr.UnknownTopicID) {
		// What settled is committed as it is; whoever begins with it, here or elsewhere,
		// finds the same.
		cause = g.commitDrained(a)
	}
	if cause != nil {
		close(a.begun) // who releases it commits it
		if errors.Is(cause, kerr.UnknownTopicID) {
			g.joinAgain(a)
		}
		return
	}
	c, err := p.Checkpoint()
	a.p = nil
	if err != nil { // send has logged it; the group's commit counts
		g.beginLate(a, g.newCensus(), nil)
		return
	}
	g.begin(a, g.newCensus(), c.Offset, c.Metadata)
}

// commitDrained commits what a Partition that has ended settled. Its error is that of the
// assignment's context, if it was released first, or that the topic is another one.
func (g *Group) commitDrained(a *assignment) error {
	for {
		g.committing.Lock()
		g.send(context.Background(), []*assignment{a}, g.isLive)
		refused := a.refused
		g.committing.Unlock()
		switch {
		case !a.p.Dirty():
			return nil
		case errors.Is(refused, kerr.UnknownTopicID):
			return refused
		}
		select {
		case <-a.ctx.Done():
			return a.ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// joinAgain takes the topic of an assignment out of the member's subscription and back into
// it, since it was deleted, and perhaps created again, or its leader does not know its id
// yet: kgo does neither fetch nor commit under another topic id before. The group then
// assigns what there is. For the partitions of a topic that happens once together.
func (g *Group) joinAgain(a *assignment) {
	topic := a.id.topic
	g.mu.Lock()
	stands := g.live[a.id] == a && !g.gone[topic]
	if stands {
		g.gone[topic] = true
	}
	g.mu.Unlock()
	if stands {
		g.member.PurgeTopicsFromConsuming(topic)
		g.member.AddConsumeTopics(topic)
	}
}

// census finds out whether the group reads a topic already, for the partitions that
// are assigned together: none of them counts as committed before all have asked.
type census struct {
	g *Group

	asking  gate // guards commits
	commits kadm.OffsetResponses
}

func (g *Group) newCensus() *census { return &census{g: g, asking: make(gate, 1)} }

// reads reports whether the group has committed any partition of a topic.
func (c *census) reads(ctx context.Context, topic string) (bool, error) {
	c.asking.Lock()
	defer c.asking.Unlock()
	if c.commits == nil {
		commits, err := c.g.admin.FetchOffsets(ctx, c.g.config.Group)
		if err != nil {
			return false, fmt.Errorf("fetch offsets of the group: %w", err)
		}
		c.commits = commits
	}
	for _, commit := range c.commits[topic] {
		if commit.At >= 0 {
			return true, nil
		}
	}
	return false, nil
}
