package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// Written is a record that [Produce] wrote.
type Written struct {
	Key    string // empty if it has none
	Source event.Position
}

// Settlement is how one target settled one record.
type Settlement struct {
	Key    string `json:"key"`
	Source string `json:"source"` // TOPIC/PARTITION/OFFSET
	Target string `json:"target"`
	// Outcome is the receipt's; empty if there is none: the target filtered the record
	// out, a later one took its receipt's place, or receipts are off.
	Outcome string `json:"outcome,omitempty"`
	// Error is why the delivery was dead-lettered.
	Error string `json:"error,omitempty"`
}

// settledPoll is the time between two readings of the group's commits.
const settledPoll = 500 * time.Millisecond

// AwaitSettled waits until each target of the config has settled all records, by the
// commits of the members that run, and returns how. Since is a time before the first
// of them was written.
func AwaitSettled(ctx context.Context, cfg *config.Config, written []Written, since time.Time, log *slog.Logger) ([]Settlement, error) {
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	ticker := time.NewTicker(settledPoll)
	defer ticker.Stop()
	late := "the group's commits have not been read"
	for {
		progress, err := adm.Progress(ctx)
		if err == nil {
			if late = unsettled(progress, cfg, written); late == "" {
				break
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", late, context.Cause(ctx))
		}
		if err != nil {
			return nil, err
		}
	}
	var all []Settlement
	for _, w := range written {
		for _, t := range cfg.Targets {
			all = append(all, Settlement{Key: w.Key, Source: w.Source.String(), Target: t.Name})
		}
	}
	if cfg.Receipts.Off {
		return all, nil
	}
	return all, readOutcomes(ctx, adm, cfg.Receipts.Topic, since, all)
}

// unsettled says which target has not settled a record, and which; nothing if all have.
func unsettled(progress []kafka.PartitionProgress, cfg *config.Config, written []Written) string {
	for _, w := range written {
		i := slices.IndexFunc(progress, func(p kafka.PartitionProgress) bool {
			return p.Topic == w.Source.Topic && p.Partition == w.Source.Partition
		})
		for _, t := range cfg.Targets {
			settled := i >= 0 && slices.ContainsFunc(progress[i].Lanes, func(l checkpoint.Lane) bool {
				return l.Name == t.Name && l.Cursor.Settled(w.Source.Offset)
			})
			if !settled {
				return fmt.Sprintf("target %s has not settled %s", t.Name, w.Source)
			}
		}
	}
	return ""
}

// readOutcomes fills in what the receipts tell that were written since a time. Clocks
// may differ by a minute.
func readOutcomes(ctx context.Context, adm *kafka.Admin, topic string, since time.Time, all []Settlement) error {
	spans, err := adm.Spans(ctx, since.Add(-time.Minute), topic)
	if err != nil {
		return err
	}
	type delivery struct{ target, source string }
	found := map[delivery]*receipt.Receipt{}
	err = adm.Scan(ctx, spans, func(r *event.Record) error {
		kind, target, _, err := receipt.ParseKey(r.Key)
		if err != nil || r.Value == nil || kind != receipt.KindHeld && kind != receipt.KindLast {
			return nil //nolint:nilerr // of a later release
		}
		if got, err := receipt.Decode(r.Key, r.Value); err == nil {
			found[delivery{target, got.Source.String()}] = got
		}
		return nil
	})
	for i := range all {
		if r := found[delivery{all[i].Target, all[i].Source}]; r != nil {
			all[i].Outcome, all[i].Error = r.Outcome, r.Error
		}
	}
	return err
}
