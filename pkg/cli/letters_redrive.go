package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/receipt"
)

func newLettersRedrive(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "redrive -c FILE (ID… | --target T | --class C | --since T | --key K | --error TEXT) [--reason TEXT] [--dry-run]",
		Short: "Send dead letters again",
		Long: `Have the members send these dead letters to their targets again, each in its place
among the versions of its policy. A target that has a newer version keeps it: such a
letter is skipped, and settled as stale. What fails again becomes a dead letter of its
own. The command returns when all are settled, with 1 if any failed again; ended
earlier, the redrive goes on without it.`,
		Example: example("policysync dead-letters redrive -c policysync.yaml --target legacyDatabase --error 'value too long' --dry-run",
			`policysync dead-letters redrive -c policysync.yaml --target legacyDatabase --since 24h --reason "column widened"`),
		Args: cobra.ArbitraryArgs,
	}
	open, filter := lettersFlag(c, b), letterFlags(c)
	reason := c.Flags().String("reason", "", "why, for those who ask later")
	by := c.Flags().String("by", "", "who; you, as this machine knows you, unless given")
	allowOld := c.Flags().Bool("allow-old-versions", false, "with receipts off: send also what may be older than what the target has")
	dryRun := c.Flags().Bool("dry-run", false, "say how many, and do nothing")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, ids []string) error {
		f, err := selected(filter, ids)
		if err != nil {
			return err
		}
		return open(func(_ *config.Config, letters *app.Letters) error {
			var missing error
			if len(ids) > 0 {
				found, _, err := unresolved(c, letters, f)
				if err != nil {
					return err
				}
				missing = unknownLetters(ids, found)
			}
			q := app.RedriveRequest{Filter: *f, Origin: originOf(*by, *reason), AllowOldVersions: *allowOld}
			redrives, problems, err := letters.NewRedrives(c.Context(), q)
			if err != nil {
				return err
			}
			warn(c, problems)
			if !*dryRun && len(redrives) > 0 {
				if err := redrive(c, letters, redrives); err != nil {
					return err
				}
			}
			if err = printRedrives(c, redrives, *dryRun, *asJSON); missing != nil {
				return missing
			}
			return err
		})
	}
	return c
}

// redrive commands and waits until nothing is left.
func redrive(c *cobra.Command, letters *app.Letters, redrives []app.RedriveStatus) error {
	if err := letters.StartRedrives(c.Context(), redrives); err != nil {
		return err
	}
	all := int64(0)
	for _, r := range redrives {
		all += int64(r.Left)
	}
	gauge := newGauge()
	defer gauge.end()
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		if err := letters.Progress(c.Context(), redrives); err != nil {
			return err
		}
		left := int64(0)
		for _, r := range redrives {
			left += int64(r.Left)
		}
		gauge.show(all-left, all, fmt.Sprintf("%d of %d dead letters are settled", all-left, all))
		if left == 0 {
			return letters.FinishRedrives(context.WithoutCancel(c.Context()), redrives)
		}
		select {
		case <-ticker.C:
		case <-c.Context().Done():
			return fmt.Errorf("the redrive goes on without this command; `policysync commands` shows it: %w", context.Cause(c.Context()))
		}
	}
}

func printRedrives(c *cobra.Command, redrives []app.RedriveStatus, dryRun, asJSON bool) error {
	again := 0
	for _, r := range redrives {
		again += r.Settled[receipt.DeadLettered]
	}
	switch {
	case asJSON:
		if err := printJSON(c, map[string]any{"redrives": redrives, "dry_run": dryRun}); err != nil {
			return err
		}
	case len(redrives) == 0:
		fmt.Fprintln(c.OutOrStdout(), "no dead letters")
	default:
		table := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(table, "TARGET\tCOMMAND\tLEFT\tDELIVERED\tSTALE\tFILTERED\tDEAD-LETTERED AGAIN")
		for _, r := range redrives {
			id := r.ID
			if dryRun {
				id = "-"
			}
			fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%d\n", orDash(r.Target), id, r.Left, r.Settled[receipt.Delivered],
				r.Settled[receipt.Stale], r.Settled[receipt.Filtered], r.Settled[receipt.DeadLettered])
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	if again > 0 {
		return silentError{fmt.Errorf("%d failed again", again)}
	}
	return nil
}
