package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
)

func newTopics(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "topics",
		Short: "Look after policysync's own topics",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	create := &cobra.Command{
		Use:   "create -c FILE",
		Short: "Create the topics that policysync owns, where they do not exist",
		Long: `Create the dead-letter topic, with the retention that the config asks for, and the
compacted topics of receipts and of operators' commands, with three replicas where
there are brokers for it. Existing topics are left alone.`,
		Example: example("policysync topics create -c policysync.yaml"),
		Args:    cobra.NoArgs,
	}
	load := configFlag(create, b)
	create.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		created, err := app.CreateTopics(c.Context(), cfg, quiet())
		for _, name := range created {
			fmt.Fprintln(c.OutOrStdout(), "created", name)
		}
		if err == nil && len(created) == 0 {
			fmt.Fprintln(c.OutOrStdout(), "nothing to create")
		}
		return err
	}
	c.AddCommand(create)
	return c
}
