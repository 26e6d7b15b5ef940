package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/decode"
)

func newValidate(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "validate -c FILE",
		Short: "Check the whole config, every mistake at once",
		Long: `Check the config and every expression, which are held against the schemas of the
registry. Each mistake names its file, line and column, and the nearest valid word.
If the registry cannot be reached, expressions are only parsed, and that is said.

With --connect, also ask each part whether it can be reached and lets us in.`,
		Example: example("policysync validate -c policysync.yaml", "policysync validate -c policysync.yaml --connect"),
		Args:    cobra.NoArgs,
	}
	load := configFlag(c, b)
	connect := c.Flags().Bool("connect", false, "also reach Kafka, the registry and each target")
	asJSON := c.Flags().Bool("json", false, "with --connect: print what each part answered as JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *asJSON && !*connect {
			return usageError{errors.New("--json goes with --connect")}
		}
		cfg, err := load()
		if err != nil {
			return allMistakes(c.Context(), b, cfg, err)
		}
		if *connect {
			return printFindings(c, app.Connect(c.Context(), cfg, b.connectors, quiet()), *asJSON)
		}
		plan, err := app.NewPlan(c.Context(), cfg, b.connectors)
		var away *decode.UnavailableError
		switch {
		case errors.As(err, &away):
			if err := cfg.Compile(nil); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "the config is sound, but expressions are only parsed:", err)
			return nil
		case err != nil:
			return err
		}
		for _, topic := range plan.Unknown() {
			fmt.Fprintf(c.OutOrStdout(), "warning: topic %s has no schema yet; expressions on it are checked when the first one comes\n", topic)
		}
		fmt.Fprintln(c.OutOrStdout(), "the config is sound")
		return nil
	}
	return c
}

// allMistakes adds the mistakes that show only beside the schemas, if those can be
// had.
func allMistakes(ctx context.Context, b build, cfg *config.Config, err error) error {
	if cfg == nil {
		return err
	}
	_, planErr := app.NewPlan(ctx, cfg, b.connectors)
	if all, ok := errors.AsType[*config.Error](planErr); ok {
		return all
	}
	return err
}

func printFindings(c *cobra.Command, findings []app.Finding, asJSON bool) error {
	var failed error
	for _, f := range findings {
		if f.Err != nil {
			failed = silentError{fmt.Errorf("%s: %w", f.Part, f.Err)}
		}
		if asJSON {
			continue
		}
		if f.Err != nil {
			fmt.Fprintf(c.OutOrStdout(), "FAIL  %s: %v\n", f.Part, f.Err)
		} else {
			fmt.Fprintf(c.OutOrStdout(), "ok    %s\n", f.Part)
		}
	}
	if asJSON {
		if err := printJSON(c, findings); err != nil {
			return err
		}
	}
	return failed
}
