package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// KnownTarget is a target that the group's commits have cursors of.
type KnownTarget struct {
	Target string `json:"target"`
	// Configured is false for one that this config lacks: its cursors are carried on.
	Configured bool          `json:"configured"`
	Lag        int64         `json:"lag"`
	Cursors    []KnownCursor `json:"cursors"`
}

// KnownCursor is where a target stands on one partition.
type KnownCursor struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Next is the lowest offset that has not settled.
	Next int64 `json:"next"`
	Lag  int64 `json:"lag"`
}

// KnownTargets reads the group's commits and returns the targets that they know, by
// name.
func KnownTargets(ctx context.Context, cfg *config.Config, log *slog.Logger) ([]KnownTarget, error) {
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	progress, err := adm.Progress(ctx)
	if err != nil {
		return nil, err
	}
	known := []KnownTarget{}
	for _, p := range progress {
		for _, l := range p.Lanes {
			i := slices.IndexFunc(known, func(t KnownTarget) bool { return t.Target == l.Name })
			if i < 0 {
				i = len(known)
				known = append(known, KnownTarget{Target: l.Name, Configured: configured(cfg, l.Name)})
			}
			c := KnownCursor{Topic: p.Topic, Partition: p.Partition, Next: l.Cursor.Next(), Lag: lag(&p, l.Cursor.Next(), ahead(l.Cursor))}
			known[i].Lag += c.Lag
			known[i].Cursors = append(known[i].Cursors, c)
		}
	}
	slices.SortFunc(known, func(a, b KnownTarget) int { return cmp.Compare(a.Target, b.Target) })
	return known, nil
}

// FindTarget returns the index of the config's target of a name. Its error is [ErrNoTarget].
func FindTarget(cfg *config.Config, name string) (int, error) {
	i := slices.IndexFunc(cfg.Targets, func(t config.Target) bool { return t.Name == name })
	if i < 0 {
		return i, fmt.Errorf("target %q: %w", name, ErrNoTarget)
	}
	return i, nil
}

func configured(cfg *config.Config, target string) bool {
	_, err := FindTarget(cfg, target)
	return err == nil
}

// ConfiguredError says that a target can't be forgotten, since the config has it.
type ConfiguredError struct{ Target string }

func (e *ConfiguredError) Error() string {
	return fmt.Sprintf("target %q is in the config: take it out there first, and deploy that to all members", e.Target)
}

// ForgetTarget drops the cursors of a target that is gone, and returns from how many
// partitions. Its errors are a [*ConfiguredError], [kafka.ErrMembers] and those of Kafka.
func ForgetTarget(ctx context.Context, cfg *config.Config, target string, log *slog.Logger) (int, error) {
	if configured(cfg, target) {
		return 0, &ConfiguredError{target}
	}
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return 0, err
	}
	defer adm.Close()
	done := &control.Done{ID: NewCommandID(), What: control.DoneForget, Target: target, Origin: Origin("")}
	if err := give(ctx, cfg, adm, done); err != nil {
		return 0, fmt.Errorf("forget target %s: %w", target, err)
	}
	n, err := adm.Forget(ctx, target)
	if err == nil && n == 0 || errors.Is(err, kafka.ErrMembers) { // nothing was done
		err = errors.Join(err, adm.Withdraw(ctx, cfg.Control.Topic, done))
	}
	if err != nil {
		return n, fmt.Errorf("forget target %s: %w", target, err)
	}
	return n, nil
}
