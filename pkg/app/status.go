package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// Status is how far the group has come, as its last commits tell.
type Status struct {
	Group   string         `json:"group"`
	Targets []TargetStatus `json:"targets"`
	// Members are those that are alive; MembersUnknown says why that is not known.
	Members        []receipt.Member `json:"members"`
	MembersUnknown string           `json:"members_unknown,omitempty"`
	// Problems are commits whose cursors cannot be used, logs that were cut below what
	// targets have settled, and records that were deleted before targets had them.
	Problems []string `json:"problems,omitempty"`
}

// TargetStatus is one target over all partitions.
type TargetStatus struct {
	Target string `json:"target"`
	// Configured is false for a target that only the commits know.
	Configured bool `json:"configured"`
	// Lag is the number of offsets that the target has not settled.
	Lag   int64        `json:"lag"`
	Lanes []LaneStatus `json:"lanes"`
}

// LaneStatus is one target on one partition.
type LaneStatus struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Next is the lowest offset that has not settled; -1 before the first commit.
	Next int64 `json:"next"`
	// Ahead is the number of offsets above Next that have.
	Ahead int64 `json:"ahead"`
	End   int64 `json:"end"`
	Lag   int64 `json:"lag"`
}

// ReadStatus reads the group's commits, and what its members tell: it needs none that
// runs.
func ReadStatus(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Status, error) {
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	return StatusOf(ctx, cfg, adm)
}

// StatusOf is [ReadStatus] for who reads it again and again.
func StatusOf(ctx context.Context, cfg *config.Config, adm *kafka.Admin) (*Status, error) {
	progress, err := adm.Progress(ctx)
	if err != nil {
		return nil, err
	}
	s := &Status{Group: cfg.Kafka.Group}
	for _, t := range cfg.Targets {
		s.Targets = append(s.Targets, TargetStatus{Target: t.Name, Configured: true})
	}
	for _, p := range progress {
		s.add(&p)
	}
	if s.Members, err = readMembers(ctx, adm, cfg.Receipts.Topic); err != nil {
		s.Members, s.MembersUnknown = []receipt.Member{}, err.Error()
	}
	return s, nil
}

// add counts one partition for every target: by its cursor if the commit carries
// one, else by the committed offset, from which the target would start.
func (s *Status) add(p *kafka.PartitionProgress) {
	if p.Problem != nil {
		s.problemf(p, "cursors not usable: committed offset %d: %v", p.Committed, p.Problem)
	}
	if p.Committed > p.End {
		s.problemf(p, "the log was cut: it ends at %d, and the committed offset is %d", p.End, p.Committed)
	}
	lanes := map[string]LaneStatus{}
	furthest := p.Committed
	for _, l := range p.Lanes {
		lane := LaneStatus{Next: l.Cursor.Next(), Ahead: ahead(l.Cursor)}
		lanes[l.Name] = lane
		furthest = max(furthest, lane.Next)
		if highest := l.Cursor.Highest(); highest > p.End && p.Committed <= p.End {
			s.problemf(p, "the log was cut: it ends at %d, and target %s has settled up to %d", p.End, l.Name, highest-1)
		}
		i := slices.IndexFunc(s.Targets, func(t TargetStatus) bool { return t.Target == l.Name })
		if i < 0 {
			i = len(s.Targets)
			s.Targets = append(s.Targets, TargetStatus{Target: l.Name})
		}
		if lane.Next < p.Start && s.Targets[i].Configured {
			s.problemf(p, "lost before delivery: the log starts at %d, target %s was at %d", p.Start, l.Name, lane.Next)
		}
	}
	for i := range s.Targets {
		t := &s.Targets[i]
		lane, known := lanes[t.Target]
		if !known {
			if !t.Configured {
				continue
			}
			lane.Next = furthest
		}
		lane.Topic, lane.Partition, lane.End = p.Topic, p.Partition, p.End
		lane.Lag = lag(p, lane.Next, lane.Ahead)
		t.Lag += lane.Lag
		t.Lanes = append(t.Lanes, lane)
	}
}

// ahead is the number of offsets above the next one that have settled.
func ahead(c *checkpoint.Cursor) (n int64) {
	for _, run := range c.Runs() {
		n += run.To - run.From
	}
	return n
}

// lag is the number of offsets in the log that have not.
func lag(p *kafka.PartitionProgress, next, ahead int64) int64 {
	return max(0, p.End-max(next, p.Start)-ahead)
}

func (s *Status) problemf(p *kafka.PartitionProgress, format string, args ...any) {
	s.Problems = append(s.Problems, fmt.Sprintf("%s/%d: ", p.Topic, p.Partition)+fmt.Sprintf(format, args...))
}
