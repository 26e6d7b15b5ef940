package app

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// OldVersionsError says that a command would push versions that are older than what the
// target has, to a target that does not refuse them.
type OldVersionsError struct{ Why string }

func (e *OldVersionsError) Error() string {
	return e.Why + ", so the target would have older versions for a while, or for good, and this connector has no guard against them: --allow-old-versions if that is meant"
}

// NewReplay works out what a request means on each partition. Its errors are
// [ErrNoTarget], a [*RequestError], an [*OldVersionsError] and those of Kafka.
func NewReplay(ctx context.Context, cfg *config.Config, adm *kafka.Admin, q ReplayRequest) (*control.Replay, error) {
	i, err := FindTarget(cfg, q.Target)
	if err != nil {
		return nil, err
	}
	t := &cfg.Targets[i]
	begin, end, err := q.bounds()
	if err != nil {
		return nil, err
	}
	progress, err := adm.Progress(ctx)
	if err != nil {
		return nil, err
	}
	from, err := begin.offsets(ctx, adm, progress)
	if err != nil {
		return nil, err
	}
	var to map[string]int64
	if end != nil {
		if to, err = end.offsets(ctx, adm, progress); err != nil {
			return nil, err
		}
		for where := range end.places {
			if first, ok := from[where]; !ok || to[where] <= first {
				return nil, end.wrong("it is not after --from on " + where)
			}
		}
	}
	r := &control.Replay{Target: q.Target, Every: q.Every, Ranges: []control.Range{}}
	most := int64(0)
	for _, p := range progress {
		first, ok := from[place(&p)]
		if !ok {
			continue
		}
		g := control.Range{Topic: p.Topic, Partition: p.Partition, From: max(first, p.Start)}
		end := p.End
		if last, ok := to[place(&p)]; ok {
			last = max(last, g.From)
			g.To, end = &last, min(end, last)
		}
		most = max(most, end-g.From)
		r.Ranges = append(r.Ranges, g)
	}
	if most <= 0 {
		return nil, begin.wrong("nothing is in the log from there on, or before --to")
	}
	if q.AllowOldVersions || ChecksVersions(t) {
		return r, nil
	}
	switch window := int64(t.Window.Deliveries); {
	case q.To != "":
		return nil, &OldVersionsError{"--to ends before the newest versions"}
	case q.Every:
		return nil, &OldVersionsError{"--every begins with the oldest versions"}
	case most > window:
		return nil, &OldVersionsError{fmt.Sprintf("a partition has %d offsets to replay and the window room for %d", most, window)}
	}
	return r, nil
}

// ReplayPart is how far a replay is on one partition.
type ReplayPart struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// State is "waiting", "replaying" or "done".
	State string `json:"state"`
	// Left is the number of offsets up to the replay's end.
	Left int64 `json:"left"`
}

// StartReplay writes the command and returns its offset in the control topic.
func StartReplay(ctx context.Context, cfg *config.Config, adm *kafka.Admin, r *control.Replay) (int64, error) {
	progress, err := adm.Progress(ctx)
	if err != nil {
		return 0, err
	}
	end, err := adm.EndOf(ctx, cfg.Control.Topic)
	if err != nil {
		return 0, err
	}
	for _, g := range r.Ranges {
		// A lane without a control position takes the topic's end for it: it might pass
		// over the command.
		switch position := controlPosition(progress, g, r.Target); {
		case position < 0:
			return 0, fmt.Errorf("the target has no control position on %s/%d yet: let members of this release run for a moment", g.Topic, g.Partition)
		case position > end:
			return 0, fmt.Errorf("the target's control position on %s/%d is %d and topic %s ends at %d: it was made anew; "+
				"reset the group's offsets to what they are, which drops the cursors' metadata", g.Topic, g.Partition, position, cfg.Control.Topic, end)
		}
	}
	return adm.Command(ctx, cfg.Control.Topic, r)
}

func controlPosition(progress []kafka.PartitionProgress, g control.Range, target string) int64 {
	for _, p := range progress {
		for _, l := range p.Lanes {
			if p.Topic == g.Topic && p.Partition == g.Partition && l.Name == target {
				return l.Control
			}
		}
	}
	return -1
}

// ReplayProgress says how far the replay is that stands at an offset of the control
// topic, as the commits tell.
func ReplayProgress(ctx context.Context, adm *kafka.Admin, r *control.Replay, offset int64) (parts []ReplayPart, err error) {
	progress, err := adm.Progress(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range r.Ranges {
		part := ReplayPart{Topic: g.Topic, Partition: g.Partition, State: "waiting"}
		for _, p := range progress {
			if p.Topic != g.Topic || p.Partition != g.Partition {
				continue
			}
			for _, l := range p.Lanes {
				if l.Name == r.Target && l.Control > offset {
					part.State = "done"
					if l.Replay != nil && l.Replay.CommandID == r.ID {
						part.State, part.Left = "replaying", l.Replay.End-l.Cursor.Next()
					}
				}
			}
		}
		parts = append(parts, part)
	}
	slices.SortFunc(parts, func(a, b ReplayPart) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return parts, nil
}

// Done reports whether every partition has obeyed.
func (r *ReplayStatus) Done() bool {
	return !slices.ContainsFunc(r.Parts, func(p ReplayPart) bool { return p.State != "done" })
}

// FinishReplay takes a command away that every partition has obeyed.
func FinishReplay(ctx context.Context, cfg *config.Config, adm *kafka.Admin, r *control.Replay) error {
	return adm.Withdraw(ctx, cfg.Control.Topic, r)
}

// NewAdmin reaches the config's cluster.
func NewAdmin(cfg *config.Config, log *slog.Logger) (*kafka.Admin, error) {
	return kafka.NewAdmin(cfg.Kafka, log)
}
