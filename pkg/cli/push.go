package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/receipt"
)

func newPush(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "push -c FILE --target T --key K [--reason TEXT]",
		Short: "Send the newest version of one policy again",
		Long: `Find the newest version of one policy that the target wants, by reading the topics,
and have the owner of its partition send it again, in its place among what waits of
the policy. A newer version that comes meanwhile is not overwritten. Returns when it
has settled, with 1 if it became a dead letter.`,
		Example: example("policysync push -c policysync.yaml --target schedulingTool --key DOI-7"),
		Args:    cobra.NoArgs,
	}
	load := configFlag(c, b)
	target := c.Flags().String("target", "", "the target's name")
	key := c.Flags().String("key", "", "the policy's key")
	reason := c.Flags().String("reason", "", "why, for those who ask later")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *target == "" || !c.Flags().Changed("key") {
			return usageError{errors.New("no target or no policy given: --target T --key K")}
		}
		cfg, err := load()
		if err != nil {
			return err
		}
		previewer, err := app.NewPreviewer(c.Context(), cfg, b.connectors, quiet())
		if err != nil {
			return err
		}
		gauge := newGauge()
		p, err := previewer.NewPush(c.Context(), *target, *key, gauge.records)
		gauge.end()
		if err != nil {
			return err
		}
		p.Origin = app.Origin(*reason)
		if err := app.Command(c.Context(), cfg, *target, p, quiet()); err != nil {
			return err
		}
		outcome, err := app.AwaitPush(c.Context(), cfg, p, quiet())
		switch {
		case err != nil && c.Context().Err() != nil:
			return fmt.Errorf("push %s goes on without this command; `policysync commands` shows it: %w", p.ID, context.Cause(c.Context()))
		case err != nil:
			return err
		case *asJSON:
			err = printJSON(c, map[string]any{"command": p.ID, "topic": p.Topic, "partition": p.Partition, "offset": p.Offset, "outcome": outcome})
		default:
			fmt.Fprintf(c.OutOrStdout(), "%s/%d, offset %d: %s\n", p.Topic, p.Partition, p.Offset, orDash(outcome))
		}
		if err == nil && outcome == receipt.DeadLettered {
			err = silentError{errors.New("it failed again")}
		}
		return err
	}
	return c
}
