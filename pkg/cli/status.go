package cli

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
)

func newStatus(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "status -c FILE [--key KEY]",
		Short: "Show how far each target has come, or which version of a policy it has",
		Long: `Show, per target and partition, the cursor and the lag, and what the members tell:
breakers and the oldest event that waits. With --key, show for one policy which
version each target has, since when and under which trace, or why not. Both are
read from Kafka and need no running member.`,
		Example: example("policysync status -c policysync.yaml", "policysync status -c policysync.yaml --key DOI-7",
			"policysync status -c policysync.yaml --json"),
		Args: cobra.NoArgs,
	}
	load := configFlag(c, b)
	asJSON := c.Flags().Bool("json", false, "print JSON")
	key := c.Flags().String("key", "", "one policy's key")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		if c.Flags().Changed("key") {
			return showPolicy(c, cfg, *key, *asJSON)
		}
		status, err := app.ReadStatus(c.Context(), cfg, quiet())
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c, status)
		}
		return printStatus(c.OutOrStdout(), status, time.Now())
	}
	return c
}

func showPolicy(c *cobra.Command, cfg *config.Config, key string, asJSON bool) error {
	s, err := app.ReadPolicy(c.Context(), cfg, key, quiet())
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(c, s)
	}
	printPolicy(c.OutOrStdout(), s, time.Now())
	return nil
}

func printStatus(w io.Writer, s *app.Status, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "TARGET\tPARTITION\tNEXT\tAHEAD\tEND\tLAG")
	for _, t := range s.Targets {
		name := t.Target
		if !t.Configured {
			name += " (not in the config)"
		}
		fmt.Fprintf(table, "%s\t\t\t\t\t%d\n", name, t.Lag)
		for _, l := range t.Lanes {
			next := fmt.Sprint(l.Next)
			if l.Next < 0 {
				next = "-"
			}
			fmt.Fprintf(table, "\t%s/%d\t%s\t%d\t%d\t%d\n", l.Topic, l.Partition, next, l.Ahead, l.End, l.Lag)
		}
	}
	for _, p := range s.Problems {
		fmt.Fprintf(table, "problem: %s\n", p)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return printMembers(w, s, now)
}
