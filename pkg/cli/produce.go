package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/receipt"
)

func newProduce(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "produce -c FILE --topic T [LINES]",
		Short: "Write events from JSON lines, for trials and tests",
		Long: `Read one JSON object per line, {"key": "P-1", "value": {…}}, from the file LINES
or from standard input; encode each value with the topic's newest schema; and
write it to the topic. Unions are written plainly, without the name of the branch;
dates, timestamps and decimals as text. A null value is a tombstone.

With --settled, wait for as long until every target has settled what was written, for
which members must be running, and print how. It fails if there is a dead letter, or
if every target filtered out all of it.`,
		Example: example(`policysync produce -c policysync.yaml --topic policy-events events.jsonl`,
			`policysync produce -c policysync.yaml --topic policy-events --settled 1m events.jsonl`,
			`echo '{"key":"P-1","value":null}' | policysync produce -c policysync.yaml --topic policy-events`),
		Args: cobra.MaximumNArgs(1),
	}
	load := configFlag(c, b)
	topic := c.Flags().String("topic", "", "the topic to write to")
	settled := c.Flags().Duration("settled", 0, "wait until every target has settled the events, but no longer than this")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *topic == "" {
			return usageError{errors.New("no topic given: --topic T")}
		}
		cfg, err := load()
		if err != nil {
			return err
		}
		in, name := c.InOrStdin(), "standard input"
		if len(args) == 1 {
			f, err := os.Open(args[0])
			if err != nil {
				return usageError{fmt.Errorf("read lines: %w", err)}
			}
			defer f.Close()
			in, name = f, args[0]
		}
		begun := time.Now()
		written, err := app.Produce(c.Context(), cfg, *topic, in, b.release(), quiet())
		fmt.Fprintf(c.OutOrStdout(), "%s written to %s\n", counted(len(written), "record", "records"), *topic)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if *settled == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeoutCause(c.Context(), *settled, fmt.Errorf("--settled %s is over", *settled))
		defer cancel()
		settlements, err := app.AwaitSettled(ctx, cfg, written, begun, quiet())
		if err != nil {
			return err
		}
		return printSettlements(c.OutOrStdout(), settlements, !cfg.Receipts.Off)
	}
	return c
}

// printSettlements prints how each record was settled. It is an error if one was
// dead-lettered, or if the receipts, where there are any, tell of no push at all.
func printSettlements(w io.Writer, all []app.Settlement, receipts bool) error {
	dead, pushed := false, false
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, s := range all {
		outcome := cmp.Or(s.Outcome, "settled without a receipt")
		if s.Outcome == receipt.DeadLettered {
			outcome += ": " + s.Error
			dead = true
		}
		pushed = pushed || s.Outcome != ""
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", flat(s.Key), s.Source, s.Target, flat(outcome))
	}
	err := table.Flush()
	switch {
	case err != nil:
		return err
	case dead:
		return errors.New("there are dead letters")
	case receipts && !pushed:
		return errors.New("every target filtered out all that was written")
	}
	return nil
}
