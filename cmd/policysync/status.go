package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
)

func newStatus() *cobra.Command {
	c := &cobra.Command{
		Use:   "status -c FILE",
		Short: "Show how far each target has come",
		Long: `Show, per target and partition, the cursor and the lag. It reads the group's
commits in Kafka and needs no running member.`,
		Example: example("policysync status -c policysync.yaml", "policysync status -c policysync.yaml --json"),
		Args:    cobra.NoArgs,
	}
	load := configFlag(c)
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		status, err := app.ReadStatus(c.Context(), cfg, quiet())
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(c.OutOrStdout()).Encode(status)
		}
		return printStatus(c.OutOrStdout(), status)
	}
	return c
}

func printStatus(w io.Writer, s *app.Status) error {
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
		fmt.Fprintf(table, "cursors not usable: %s\n", p)
	}
	return table.Flush()
}
