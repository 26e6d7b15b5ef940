package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
)

func newSchema(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "schema",
		Short: "Look at the schemas of events",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	check := &cobra.Command{
		Use:   "check -c FILE NEW.avsc",
		Short: "Tell what a new schema would break, before it is registered",
		Long: `Hold a new schema of a topic against the registry's compatibility rule and against
every expression of the config: the answer names target, expression and field.

With --connect, also ask each target whether it could take what the new schema
makes of its mapping, such as a column of another type.`,
		Example: example("policysync schema check -c policysync.yaml policy_event.avsc"),
		Args:    cobra.ExactArgs(1),
	}
	load := configFlag(check, b)
	topic := check.Flags().String("topic", "", "the topic whose schema it is; the config's first one unless given")
	connect := check.Flags().Bool("connect", false, "also ask the targets")
	asJSON := check.Flags().Bool("json", false, "print what was found as JSON")
	check.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(args[0])
		if err != nil {
			return usageError{fmt.Errorf("read schema: %w", err)}
		}
		if *topic == "" {
			*topic = cfg.Kafka.Topics[0]
		}
		if !slices.Contains(cfg.Kafka.Topics, *topic) {
			return usageError{fmt.Errorf("--topic %q: the config reads %s", *topic, strings.Join(cfg.Kafka.Topics, ", "))}
		}
		findings, err := app.CheckSchema(c.Context(), cfg, b.connectors, *topic, string(text), *connect, quiet())
		if err != nil {
			return err
		}
		return printFindings(c, findings, *asJSON)
	}
	c.AddCommand(check)
	return c
}
