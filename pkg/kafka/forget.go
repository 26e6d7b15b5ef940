package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/event"
)

// ErrMembers reports that the group has members: only they may commit.
var ErrMembers = errors.New("the group has members")

// Forget drops the cursors of a target from the group's commits and returns from how
// many partitions. Offsets and the other cursors stay as they are. The broker takes
// such a commit only while the group has no member, also no static one that is to come
// back; else the error is [ErrMembers].
func (a *Admin) Forget(ctx context.Context, target string) (partitions int, err error) {
	commits, err := a.adm.FetchOffsets(ctx, a.config.Group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return 0, fmt.Errorf("fetch offsets of group %s: %w", a.config.Group, err)
	}
	topics, err := a.adm.ListTopics(ctx, slices.Collect(maps.Keys(commits))...)
	if err != nil {
		return 0, fmt.Errorf("describe topics: %w", err)
	}
	without := kadm.Offsets{}
	var failed error
	commits.Each(func(c kadm.OffsetResponse) {
		cp, err := checkpoint.Decode(c.Metadata, c.At, event.TopicID(topics[c.Topic].ID))
		if err != nil {
			return // no cursors that any member would use
		}
		i := slices.IndexFunc(cp.Lanes, func(l checkpoint.Lane) bool { return l.Name == target })
		if i < 0 {
			return
		}
		cp.Lanes = slices.Delete(cp.Lanes, i, i+1)
		c.Metadata, _, err = checkpoint.Encode(cp, checkpoint.DefaultLimit)
		failed = errors.Join(failed, err)
		without.Add(c.Offset)
		partitions++
	})
	if failed != nil || partitions == 0 {
		return 0, failed
	}
	resp, err := a.adm.CommitOffsets(ctx, a.config.Group, without)
	if err == nil {
		err = resp.Error()
	}
	if errors.Is(err, kerr.UnknownMemberID) {
		err = ErrMembers
	}
	if err != nil {
		return 0, fmt.Errorf("commit offsets of group %s: %w", a.config.Group, err)
	}
	return partitions, nil
}
