package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
)

func newTest(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "test -c FILE CASES...",
		Short: "Check what events become against what you expect, and send nothing",
		Long: `Run the cases of YAML files against the config. A case is an event, as
` + "`policysync produce`" + ` reads it, and what each target must make of it:

  - name: an archived policy leaves the scheduler alone
    event: {key: P-1, value: {type: policyArchived, …}}
    want:
      schedulingTool: {filtered: true}
      legacyDatabase: {document: {…}}       # exactly; see ` + "`policysync map`" + `
      partner: {error: no such key}         # part of what its dead letter would say`,
		Example: example("policysync test -c policysync.yaml cases/*.yaml"),
		Args:    cobra.MinimumNArgs(1),
	}
	load := configFlag(c, b)
	asJSON := c.Flags().Bool("json", false, "print one JSON object per case and target")
	c.RunE = func(c *cobra.Command, files []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		cases := map[string][]app.Case{}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return usageError{fmt.Errorf("read cases: %w", err)}
			}
			if cases[file], err = app.ReadCases(text); err != nil {
				return usageError{fmt.Errorf("read cases %s: %w", file, err)}
			}
		}
		p, err := app.NewPreviewer(c.Context(), cfg, b.connectors, quiet())
		if err != nil {
			return err
		}
		report := caseReport{c: c, asJSON: *asJSON}
		for _, file := range files {
			for i := range cases[file] {
				if err := report.run(c.Context(), p, &cases[file][i]); err != nil {
					return usageError{fmt.Errorf("%s: %s: %w", file, cases[file][i].Name, err)}
				}
			}
		}
		return report.end()
	}
	return c
}

// caseReport prints results as they come and counts them.
type caseReport struct {
	c         *cobra.Command
	asJSON    bool
	n, failed int
}

func (r *caseReport) run(ctx context.Context, p *app.Previewer, c *app.Case) error {
	results, err := p.RunCase(ctx, c)
	if err != nil {
		return err
	}
	for _, result := range results {
		r.n++
		if !result.OK {
			r.failed++
		}
		switch {
		case r.asJSON:
			if err := printJSON(r.c, result); err != nil {
				return err
			}
		case result.OK:
			fmt.Fprintf(r.c.OutOrStdout(), "ok    %s: %s\n", result.Case, result.Target)
		default:
			fmt.Fprintf(r.c.OutOrStdout(), "FAIL  %s: %s\n      %s\n", result.Case, result.Target,
				strings.ReplaceAll(strings.TrimSpace(result.Why), "\n", "\n      "))
		}
	}
	return nil
}

func (r *caseReport) end() error {
	if !r.asJSON {
		fmt.Fprintf(r.c.OutOrStdout(), "%d passed, %d failed\n", r.n-r.failed, r.failed)
	}
	if r.failed > 0 {
		return silentError{fmt.Errorf("%d of %d failed", r.failed, r.n)}
	}
	return nil
}
