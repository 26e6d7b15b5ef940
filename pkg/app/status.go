package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

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
	// Problems are commits whose cursors cannot be used.
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
		s.MembersUnknown = err.Error()
	}
	return s, nil
}

// add counts one partition for every target: by its cursor if the commit carries
// one, else by the committed offset, from which the target would start.
func (s *Status) add(p *kafka.PartitionProgress) {
	if p.Problem != nil {
		s.Problems = append(s.Problems, fmt.Sprintf("%s/%d: committed offset %d: %v", p.Topic, p.Partition, p.Committed, p.Problem))
	}
	lanes := map[string]LaneStatus{}
	furthest := p.Committed
	for _, l := range p.Lanes {
		lane := LaneStatus{Next: l.Cursor.Next()}
		for _, run := range l.Cursor.Runs() {
			lane.Ahead += run.To - run.From
		}
		lanes[l.Name] = lane
		furthest = max(furthest, lane.Next)
		if !slices.ContainsFunc(s.Targets, func(t TargetStatus) bool { return t.Target == l.Name }) {
			s.Targets = append(s.Targets, TargetStatus{Target: l.Name})
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
		lane.Lag = max(0, p.End-max(lane.Next, p.Start)-lane.Ahead)
		t.Lag += lane.Lag
		t.Lanes = append(t.Lanes, lane)
	}
}
