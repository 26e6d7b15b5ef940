package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/kafka"
)

func newReplay(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "replay -c FILE --target T --from EARLIEST|TIME|OFFSETS [--to …] [--every] [--dry-run]",
		Short: "Send one target again what it had, while everything runs",
		Long: `Move one target's cursors back, while the members run. The target gets the newest
version of each policy that changed since then, under new idempotency keys; the other
targets notice nothing. The command returns when all is sent; ended earlier, the
replay goes on without it.

--to, --every, and more events in a partition than the target's window has room for,
push versions that are older than what the target has. Only a target that refuses such
versions takes that without --allow-old-versions.`,
		Example: example("policysync replay -c policysync.yaml --target legacyDatabase --from 2026-11-01",
			"policysync replay -c policysync.yaml --target legacyDatabase --from earliest --dry-run",
			"policysync replay -c policysync.yaml --target legacyDatabase --from policy-events/0:1042,policy-events/1:977"),
		Args: cobra.NoArgs,
	}
	load := configFlag(c, b)
	var q app.ReplayRequest
	c.Flags().StringVar(&q.Target, "target", "", "the target's name")
	c.Flags().StringVar(&q.From, "from", "", "`earliest`, a date, a time, or TOPIC/PARTITION:OFFSET,…")
	c.Flags().StringVar(&q.To, "to", "", "where to end, in the same forms; `where` the target is unless given")
	c.Flags().BoolVar(&q.Every, "every", false, "push each version, not only the newest of each policy")
	c.Flags().BoolVar(&q.AllowOldVersions, "allow-old-versions", false, "push also what is older than what the target has")
	reason := c.Flags().String("reason", "", "why, for those who read the logs")
	dryRun := c.Flags().Bool("dry-run", false, "count what would be sent, and do nothing")
	noWait := c.Flags().Bool("no-wait", false, "return when the replay is commanded")
	asJSON := c.Flags().Bool("json", false, "print JSON, a line per change")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if q.Target == "" || q.From == "" {
			return usageError{errors.New("no target or no start given: --target T --from F")}
		}
		q.From, q.To = strings.Replace(q.From, "EARLIEST", "earliest", 1), strings.Replace(q.To, "EARLIEST", "earliest", 1)
		cfg, err := load()
		if err != nil {
			return err
		}
		adm, err := app.NewAdmin(cfg, quiet())
		if err != nil {
			return err
		}
		defer adm.Close()
		r, err := app.NewReplay(c.Context(), cfg, adm, q)
		if err != nil {
			return err
		}
		if *dryRun {
			gauge := newGauge()
			counts, err := app.CountReplay(c.Context(), adm, r, previewer(c, b, cfg), gauge.records)
			gauge.end()
			if err != nil {
				return err
			}
			return printCounts(c, r, counts, *asJSON)
		}
		r.ID, r.Origin = app.NewCommandID(), app.Origin(*reason)
		at, err := app.StartReplay(c.Context(), cfg, adm, r)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "replay %s is commanded\n", r.ID)
		if *noWait {
			return nil
		}
		gone, stop, err := app.Withdrawn(c.Context(), cfg, r, quiet())
		if err != nil {
			return err
		}
		defer stop()
		if err := followReplay(c, adm, r, at, gone, *asJSON); err != nil {
			return err
		}
		by, err := app.CancelledBy(c.Context(), cfg, r.ID, quiet())
		if by != nil {
			err = fmt.Errorf("replay %s was cancelled by %s", r.ID, by.By)
		}
		if err != nil {
			return err
		}
		return app.FinishReplay(context.WithoutCancel(c.Context()), cfg, adm, r)
	}
	return c
}

// printCounts prints what a replay would send.
func printCounts(c *cobra.Command, r *control.Replay, counts []app.ReplayCount, asJSON bool) error {
	if asJSON {
		return printJSON(c, map[string]any{"target": r.Target, "every": r.Every, "partitions": counts})
	}
	table := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "PARTITION\tFROM\tTO\tEVENTS\tPOLICIES")
	for _, n := range counts {
		events, policies := fmt.Sprintf("at most %d", n.To-n.From), "not counted"
		if n.Events != nil {
			events, policies = strconv.FormatInt(*n.Events, 10), strconv.FormatInt(*n.Policies, 10)
		}
		fmt.Fprintf(table, "%s/%d\t%d\t%d\t%s\t%s\n", n.Topic, n.Partition, n.From, n.To, events, policies)
	}
	return table.Flush()
}

// followReplay shows how far a replay is until it is over, by a bar on a terminal, else
// by a line whenever that has changed.
func followReplay(c *cobra.Command, adm *kafka.Admin, r *control.Replay, at int64, gone <-chan struct{}, asJSON bool) error {
	gauge := newGauge()
	defer gauge.end()
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	most := map[string]int64{} // what was left of a partition when it was first seen
	last := ""
	for withdrawn := false; ; {
		parts, err := app.ReplayProgress(c.Context(), adm, r, at)
		if err != nil && c.Context().Err() == nil {
			return err
		}
		done, left, all := 0, int64(0), int64(0)
		for _, p := range parts {
			where := fmt.Sprintf("%s/%d", p.Topic, p.Partition)
			most[where] = max(most[where], p.Left, 1)
			all += most[where]
			switch p.State {
			case "done":
				done++
			case "waiting":
				left += most[where]
			default:
				left += min(p.Left, most[where])
			}
		}
		switch {
		case err != nil: // interrupted
		case asJSON:
			text, err := json.Marshal(parts)
			if err != nil {
				return err
			}
			if string(text) != last {
				last = string(text)
				fmt.Fprintln(c.OutOrStdout(), last)
			}
		default:
			gauge.show(all-left, all, fmt.Sprintf("%d of %d partitions done, %d offsets left in those that have begun", done, len(parts), begun(parts)))
		}
		if err == nil && (withdrawn || done == len(parts)) {
			return nil
		}
		select {
		case <-ticker.C:
		case <-gone:
			withdrawn = true
		case <-c.Context().Done():
			return fmt.Errorf("replay %s goes on without this command: `policysync commands` shows it, `policysync commands cancel %s` ends it: %w",
				r.ID, r.ID, context.Cause(c.Context()))
		}
	}
}

// begun is how many offsets are left in the partitions that have begun.
func begun(parts []app.ReplayPart) (left int64) {
	for _, p := range parts {
		left += p.Left
	}
	return left
}
