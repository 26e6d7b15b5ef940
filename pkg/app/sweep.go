package app

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// sweepEvery is how often a member looks for commands that are obeyed and still stand:
// whoever gave them did not wait for their end.
const sweepEvery = time.Minute

// sweeper takes them away. Each member has one; to take one away twice does no harm.
type sweeper struct {
	cfg *config.Config
	log *slog.Logger
	// standing is the offset of the last replay or redrive in the control topic.
	standing atomic.Int64
}

func (s *sweeper) obey(offset int64, r control.Record) {
	switch r := r.(type) {
	case *control.Replay:
		if r.Target != "" {
			s.standing.Store(offset + 1)
		}
	case *control.Redrive:
		if r.UpTo != nil {
			s.standing.Store(offset + 1)
		}
	}
}

func (s *sweeper) run(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		before := s.standing.Load()
		if before == 0 {
			continue
		}
		left, err := Sweep(ctx, s.cfg, s.log)
		switch {
		case err != nil && ctx.Err() == nil:
			s.log.WarnContext(ctx, "look for commands that are obeyed; trying again", "err", err)
		case err == nil && left == 0:
			s.standing.CompareAndSwap(before, 0)
		}
	}
}

// Sweep takes the replays and redrives away of which nothing is left, and returns how
// many still stand.
func Sweep(ctx context.Context, cfg *config.Config, log *slog.Logger) (left int, err error) {
	all, err := ReadCommands(ctx, cfg, log)
	if err != nil {
		return 0, err
	}
	var done []control.Record
	for _, r := range all.Replays {
		if r.Done() {
			done = append(done, r.Replay)
		}
	}
	for _, r := range all.Redrives {
		if r.Left == 0 {
			done = append(done, r.Redrive)
		}
	}
	left = len(all.Replays) + len(all.Redrives) - len(done)
	if len(done) == 0 {
		return left, nil
	}
	return left, withdraw(ctx, cfg, log, done...)
}

func withdraw(ctx context.Context, cfg *config.Config, log *slog.Logger, records ...control.Record) error {
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return err
	}
	defer adm.Close()
	for _, r := range records {
		if err := adm.Withdraw(ctx, cfg.Control.Topic, r); err != nil {
			return err
		}
	}
	return nil
}
