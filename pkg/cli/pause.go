package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/control"
)

func newPause(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "pause -c FILE --target T [--reason TEXT]",
		Short: "Stop pushing to one target, on all members",
		Long: `Stop pushing to one target, on all members, until it is resumed. Attempts under way
end and no other starts; nothing is lost, and the other targets go on. A pause holds
over restarts.`,
		Example: example("policysync pause -c policysync.yaml --target schedulingTool --reason maintenance"),
		Args:    cobra.NoArgs,
	}
	give := commandFlags(c, b)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return give(func(target string, o control.Origin) control.Record {
			return &control.Pause{Target: target, Paused: true, Origin: o}
		})
	}
	return c
}

func newResume(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "resume -c FILE --target T [--accept-dead-letters] [--reason TEXT]",
		Short: "Go on pushing to one target, on all members",
		Long: `Go on pushing to a target that was paused. With --accept-dead-letters a target that
is held, because nearly all of its last policies failed for good, goes on too: what
fails for good of the events up to now becomes a dead letter.`,
		Example: example("policysync resume -c policysync.yaml --target schedulingTool",
			"policysync resume -c policysync.yaml --target caseApi --accept-dead-letters --reason \"agency gone\""),
		Args: cobra.NoArgs,
	}
	give := commandFlags(c, b)
	accept := c.Flags().Bool("accept-dead-letters", false, "release the target from its hold")
	c.RunE = func(c *cobra.Command, _ []string) error {
		commands := []command{func(target string, o control.Origin) control.Record {
			return &control.Pause{Target: target, Origin: o}
		}}
		if *accept {
			commands = append(commands, func(target string, o control.Origin) control.Record {
				return &control.Accept{Target: target, UpTo: o.Time, Origin: o}
			})
		}
		return give(commands...)
	}
	return c
}

// command makes the record of a command to the members.
type command func(target string, o control.Origin) control.Record

// commandFlags adds the flags of a command to the members, and returns how to give it.
func commandFlags(c *cobra.Command, b build) func(...command) error {
	load := configFlag(c, b)
	target := c.Flags().String("target", "", "the target's name")
	reason := c.Flags().String("reason", "", "why, for those who read the logs")
	asJSON := c.Flags().Bool("json", false, "print JSON: the commands that were given")
	return func(commands ...command) error {
		if *target == "" {
			return usageError{errors.New("no target given: --target T")}
		}
		cfg, err := load()
		if err != nil {
			return err
		}
		given := map[string]control.Record{}
		for _, record := range commands {
			r := record(*target, app.Origin(*reason))
			err := app.Command(c.Context(), cfg, *target, r, quiet())
			switch {
			case errors.Is(err, app.ErrNoTarget):
				return usageError{err}
			case err != nil:
				return err
			}
			given[string(r.Key())] = r
		}
		if *asJSON {
			return printJSON(c, given)
		}
		fmt.Fprintf(c.OutOrStdout(), "the members are told; `policysync status` shows when they have obeyed\n")
		return nil
	}
}

func newCommands(b build) *cobra.Command {
	c := &cobra.Command{
		Use:     "commands -c FILE",
		Short:   "List what the members have been told by commands, and still hold to",
		Example: example("policysync commands -c policysync.yaml", "policysync commands -c policysync.yaml --json"),
		Args:    cobra.NoArgs,
	}
	load := configFlag(c, b)
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
			return json.NewEncoder(c.OutOrStdout()).Encode(all)
		}
		return printCommands(c, all)
	}
	c.AddCommand(newCommandsCancel(b))
	return c
}

func newCommandsCancel(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "cancel ID -c FILE",
		Short: "Take a replay, a redrive or a push away that is not over",
		Long: `Take a command away. Partitions that have not begun with a replay do not; those that
have go on to its end, since nobody could tell any more what the target lacks. Of a
redrive, what is under way is settled, and the other letters stay as they are.`,
		Example: example("policysync commands cancel k3v9q2ab7x -c policysync.yaml"),
		Args:    cobra.ExactArgs(1),
	}
	load := configFlag(c, b)
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		found, err := app.CancelCommand(c.Context(), cfg, args[0], quiet())
		if err == nil && !found {
			err = fmt.Errorf("cancel %s: no such command stands; see `policysync commands`", args[0])
		}
		if err == nil {
			fmt.Fprintln(c.OutOrStdout(), "taken away")
		}
		return err
	}
	return c
}

func printCommands(c *cobra.Command, all *app.Commands) error {
	table := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "TARGET\tCOMMAND\tBY\tSINCE\tREASON")
	line := func(target, what string, o control.Origin) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", target, what, o.By, o.Time.Format(time.RFC3339), o.Reason)
	}
	for _, p := range all.Pauses {
		line(p.Target, "paused", p.Origin)
	}
	for _, a := range all.Accepted {
		line(a.Target, "dead letters accepted", a.Origin)
	}
	for _, r := range all.Replays {
		done := 0
		for _, p := range r.Parts {
			if p.State == "done" {
				done++
			}
		}
		line(r.Target, fmt.Sprintf("replay %s: %d of %d partitions done", r.ID, done, len(r.Parts)), r.Origin)
	}
	for _, r := range all.Redrives {
		sent := 0
		for _, n := range r.Settled {
			sent += n
		}
		line(orDash(r.Target), fmt.Sprintf("redrive %s: %d of %d dead letters settled", r.ID, sent, sent+r.Left), r.Origin)
	}
	for _, p := range all.Pushes {
		line(p.Target, fmt.Sprintf("push %s of %s", p.ID, p.PolicyKey), p.Origin)
	}
	for _, problem := range all.Problems {
		fmt.Fprintf(table, "not readable: %s\n", problem)
	}
	return table.Flush()
}
