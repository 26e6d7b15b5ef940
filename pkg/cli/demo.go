package cli

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/demo"
)

func newDemo(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show all of it in one process, with nothing to install",
		Long: `Start an embedded broker and registry, a scheduling API, a legacy database and a
warehouse; publish policies and processes; break a target, heal it; then ask the
targets what they have. It exits 1 if anything was lost or out of order.`,
		Example: example("policysync demo", "policysync demo --json", "policysync demo --sabotage skip-one"),
		Args:    cobra.NoArgs,
	}
	asJSON := c.Flags().Bool("json", false, "print only the result, as one line of JSON")
	sabotage := c.Flags().String("sabotage", "", "break policysync on purpose: skip-one swallows one push")
	c.RunE = func(c *cobra.Command, _ []string) error {
		screen := &demo.Screen{Out: os.Stdout, Terminal: terminal(os.Stdout)}
		if *asJSON {
			screen = &demo.Screen{Out: io.Discard}
		}
		result, err := demo.Run(c.Context(), demo.Options{
			Registry: b.connectors, Version: b.release(), Sabotage: *sabotage, Screen: screen,
		})
		if errors.Is(err, demo.ErrSabotage) {
			return usageError{err}
		}
		if err != nil {
			return err
		}
		if *asJSON {
			if err := printJSON(c, result); err != nil {
				return err
			}
		}
		screen.Conclude(result)
		if !result.Sound() {
			return silentError{errors.New("a promise was broken")}
		}
		return nil
	}
	return c
}
