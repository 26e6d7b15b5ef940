package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// ErrNoCommand reports an id of no replay, redrive or push that stands.
var ErrNoCommand = errors.New("no such command stands")

// Cancelled is a command that was taken away.
type Cancelled struct {
	// Replay is nil for a redrive or a push.
	Replay *ReplayStatus
	// OldVersions: the target, which does not refuse older versions, may have got some
	// that the replay would have replaced later.
	OldVersions bool
}

// CancelCommand takes a replay, redrive or push away by its id: a replay ends where it is,
// of the others what is under way settles. Its errors are [ErrNoCommand] and those of Kafka.
func CancelCommand(ctx context.Context, cfg *config.Config, id string, o control.Origin, log *slog.Logger) (*Cancelled, error) {
	all, err := ReadCommands(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	c := &Cancelled{}
	var record control.Record
	for i, r := range all.Replays {
		if r.ID == id {
			record, c.Replay, c.OldVersions = r.Replay, &all.Replays[i], pushesOld(cfg, r.Replay)
		}
	}
	for _, r := range all.Redrives {
		if r.ID == id {
			record = r.Redrive
		}
	}
	for _, p := range all.Pushes {
		if p.ID == id {
			record = p.Push
		}
	}
	if record == nil {
		return nil, fmt.Errorf("cancel %s: %w", id, ErrNoCommand)
	}
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	if err := give(ctx, cfg, adm, &control.Done{ID: NewCommandID(), What: control.DoneCancel, Command: id, Origin: o}); err != nil {
		return nil, err
	}
	return c, adm.Withdraw(ctx, cfg.Control.Topic, record)
}

// CancelledBy says who cancelled a command; nil if nobody has.
func CancelledBy(ctx context.Context, cfg *config.Config, id string, log *slog.Logger) (*control.Origin, error) {
	all, err := ReadCommands(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	for _, d := range all.Done {
		if d.What == control.DoneCancel && d.Command == id {
			return &d.Origin, nil
		}
	}
	return nil, nil //nolint:nilnil // nobody is no error
}

// pushesOld reports whether the replay may push versions that are older than what the
// target has, and that does not refuse them.
func pushesOld(cfg *config.Config, r *control.Replay) bool {
	i, err := FindTarget(cfg, r.Target)
	if err != nil || ChecksVersions(&cfg.Targets[i]) {
		return false
	}
	to := func(g control.Range) bool { return g.To != nil }
	return r.Every || slices.ContainsFunc(r.Ranges, to)
}

// Obeying returns how many partitions are still at a replay.
func (r *ReplayStatus) Obeying(ctx context.Context, adm *kafka.Admin) (int, error) {
	parts, err := ReplayProgress(ctx, adm, r.Replay, r.offset)
	n := 0
	for _, p := range parts {
		if p.State == "replaying" {
			n++
		}
	}
	return n, err
}
