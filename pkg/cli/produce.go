package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
)

func newProduce(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "produce -c FILE --topic T [LINES]",
		Short: "Write events from JSON lines, for trials and tests",
		Long: `Read one JSON object per line, {"key": "P-1", "value": {…}}, from the file LINES
or from standard input; encode each value with the topic's newest schema; and
write it to the topic. Unions are written plainly, without the name of the branch;
dates, timestamps and decimals as text. A null value is a tombstone.`,
		Example: example(`policysync produce -c policysync.yaml --topic policy-events events.jsonl`,
			`echo '{"key":"P-1","value":null}' | policysync produce -c policysync.yaml --topic policy-events`),
		Args: cobra.MaximumNArgs(1),
	}
	load := configFlag(c, b)
	topic := c.Flags().String("topic", "", "the topic to write to")
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
		n, err := app.Produce(c.Context(), cfg, *topic, in, b.release(), quiet())
		fmt.Fprintf(c.OutOrStdout(), "%d records written to %s\n", n, *topic)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	return c
}
