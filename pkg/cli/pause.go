package cli

import (
	"errors"
	"fmt"

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
			if err := app.Command(c.Context(), cfg, *target, r, quiet()); err != nil {
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
