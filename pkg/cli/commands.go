package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/control"
)

func newCommands(b build) *cobra.Command {
	c := &cobra.Command{
		Use:     "commands -c FILE",
		Short:   "List what the members have been told by commands, and still hold to",
		Example: example("policysync commands -c policysync.yaml", "policysync commands -c policysync.yaml --json"),
		Args:    cobra.NoArgs,
	}
	load := configFlag(c, b)
	done := c.Flags().Bool("done", false, "list also what was cancelled, discarded, forgotten and repaired")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		all, err := app.ReadCommands(c.Context(), cfg, quiet())
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c, all)
		}
		return printCommands(c, all, *done)
	}
	c.AddCommand(newCommandsCancel(b))
	return c
}

func newCommandsCancel(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "cancel ID -c FILE [--reason TEXT]",
		Short: "Take a replay, a redrive or a push away that is not over",
		Long: `Take a command away. A replay ends: what it has sent stays, and each target goes on
from where it was before. Of a redrive, what is under way is settled, and the other
letters stay as they are. Returns when no member is at the replay any more.`,
		Example: example("policysync commands cancel k3v9q2ab7x -c policysync.yaml"),
		Args:    cobra.ExactArgs(1),
	}
	load := configFlag(c, b)
	reason := c.Flags().String("reason", "", "why, for those who ask later")
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		cancelled, err := app.CancelCommand(c.Context(), cfg, args[0], app.Origin(*reason), quiet())
		if err != nil {
			return err
		}
		fmt.Fprintln(c.OutOrStdout(), "taken away")
		if cancelled.OldVersions {
			fmt.Fprintln(c.ErrOrStderr(), "the target may have got older versions than it had: "+
				"replay without --every and --to, or `policysync verify --repair`, sends the newest")
		}
		if cancelled.Replay == nil {
			return nil
		}
		return awaitCancelled(c, cfg, cancelled.Replay)
	}
	return c
}

// awaitCancelled returns when no partition is at the replay any more.
func awaitCancelled(c *cobra.Command, cfg *config.Config, r *app.ReplayStatus) error {
	adm, err := app.NewAdmin(cfg, quiet())
	if err != nil {
		return err
	}
	defer adm.Close()
	gauge := newGauge()
	defer gauge.end()
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		left, err := r.Obeying(c.Context(), adm)
		if err == nil {
			all := len(r.Parts)
			gauge.show(int64(all-left), int64(all), fmt.Sprintf("%d of %d partitions are at it no more", all-left, all))
		}
		if left == 0 || err != nil && c.Context().Err() == nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-c.Context().Done():
			return fmt.Errorf("the members that are still at it end it without this command: %w", context.Cause(c.Context()))
		}
	}
}

func printCommands(c *cobra.Command, all *app.Commands, done bool) error {
	table := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "TARGET\tCOMMAND\tBY\tSINCE\tREASON")
	row := func(target, what string, o control.Origin) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", target, flat(what), flat(o.By), o.Time.Format(time.RFC3339), flat(o.Reason))
	}
	for _, p := range all.Pauses {
		row(p.Target, "paused", p.Origin)
	}
	for _, a := range all.Accepted {
		row(a.Target, "dead letters accepted", a.Origin)
	}
	for _, r := range all.Replays {
		done := 0
		for _, p := range r.Parts {
			if p.State == "done" {
				done++
			}
		}
		row(r.Target, fmt.Sprintf("replay %s: %d of %d partitions done", r.ID, done, len(r.Parts)), r.Origin)
	}
	for _, r := range all.Redrives {
		sent := 0
		for _, n := range r.Settled {
			sent += n
		}
		row(orDash(r.Target), fmt.Sprintf("redrive %s: %d of %d dead letters settled", r.ID, sent, sent+r.Left), r.Origin)
	}
	for _, p := range all.Pushes {
		row(p.Target, fmt.Sprintf("push %s of %s", p.ID, p.PolicyKey), p.Origin)
	}
	for _, d := range all.Done {
		if done {
			row(orDash(d.Target), wasDone(&d), d.Origin)
		}
	}
	for _, problem := range all.Problems {
		fmt.Fprintf(table, "not readable: %s\n", problem)
	}
	return table.Flush()
}

func wasDone(d *app.DoneStatus) string {
	switch d.What {
	case control.DoneCancel:
		return "cancelled " + d.Command
	case control.DoneDiscard:
		return "discarded " + counted(len(d.Letters), "dead letter", "dead letters")
	case control.DoneForget:
		return "cursors dropped"
	case control.DoneRepair:
		return "repaired by verify, command " + d.Command
	}
	return d.What
}
