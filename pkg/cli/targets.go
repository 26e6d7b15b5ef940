package cli

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/kafka"
)

func newTargets(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "targets",
		Short: "List the targets that the group knows, forget one that is gone",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newTargetsList(b), newTargetsForget(b))
	return c
}

func newTargetsList(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "list -c FILE",
		Short: "List the targets whose cursors the group's commits have",
		Long: `List the targets whose cursors the group's commits have, with the lowest offset
per partition that each has not settled. The cursors of a target that is not in the
config are carried on unchanged and hold nothing back.`,
		Example: example("policysync targets list -c policysync.yaml", "policysync targets list -c policysync.yaml --json"),
		Args:    cobra.NoArgs,
	}
	load := configFlag(c, b)
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		known, err := app.KnownTargets(c.Context(), cfg, quiet())
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c, known)
		}
		table := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(table, "TARGET\tCONFIGURED\tPARTITION\tCURSOR\tLAG")
		for _, t := range known {
			configured := "yes"
			if !t.Configured {
				configured = "no"
			}
			fmt.Fprintf(table, "%s\t%s\t\t\t%d\n", t.Target, configured, t.Lag)
			for _, l := range t.Cursors {
				fmt.Fprintf(table, "\t\t%s/%d\t%d\t%d\n", l.Topic, l.Partition, l.Next, l.Lag)
			}
		}
		return table.Flush()
	}
	return c
}

func newTargetsForget(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "forget NAME -c FILE",
		Short: "Drop the cursors of a target that is gone",
		Long: `Drop the cursors of a target that is no longer in the config. If it comes back it
is new, and starts where its config says. Offsets and the cursors of other targets
stay as they are.

Only members commit while the group has any, so stop them first; one with an
instance_id counts until its session has ended.`,
		Example: example("policysync targets forget formerTool -c policysync.yaml"),
		Args:    cobra.ExactArgs(1),
	}
	load := configFlag(c, b)
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		n, err := app.ForgetTarget(c.Context(), cfg, args[0], quiet())
		switch {
		case errors.Is(err, kafka.ErrMembers):
			return fmt.Errorf("%w: stop all of them first; one with an instance_id counts until its session has ended", err)
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("forget target %s: no commit has cursors of it; see `policysync targets list`", args[0])
		}
		fmt.Fprintf(c.OutOrStdout(), "forgotten on %s\n", counted(n, "partition", "partitions"))
		return nil
	}
	return c
}
