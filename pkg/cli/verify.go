package cli

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/connector"
)

func newVerify(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "verify -c FILE --target T [--repair]",
		Short: "Compare what a target holds with the newest version of each policy",
		Long: `Read the source topics, and compare the newest version of each policy with what the
target holds: what is missing, stale, different, or extra. With --repair, push the
newest versions again where the target differs. Nothing that only the target knows
is deleted. The service may run meanwhile. Exits with 1 if differences are left.`,
		Example: example("policysync verify -c policysync.yaml --target legacyDatabase",
			"policysync verify -c policysync.yaml --target legacyDatabase --repair"),
		Args: cobra.NoArgs,
	}
	load := configFlag(c, b)
	target := c.Flags().String("target", "", "the target's name")
	repair := c.Flags().Bool("repair", false, "push what is missing, stale or different again")
	old := c.Flags().Bool("allow-old-versions", false, "repair also a target that does not refuse older versions: pause it meanwhile")
	asJSON := c.Flags().Bool("json", false, "print a JSON object a difference, and one in the end")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *target == "" {
			return usageError{errors.New("no target given: --target T")}
		}
		cfg, err := load()
		if err != nil {
			return err
		}
		limitHeap(cfg)
		gauge := newGauge()
		o := app.VerifyOptions{
			Target: *target, Repair: *repair, AllowOldVersions: *old, Command: "verify-" + strconv.FormatInt(time.Now().UnixNano(), 36),
			Progress: func(pass int, read, all int64) { gauge.pass(fmt.Sprintf("pass %d of 2, ", pass), read, all) },
			Each: func(d *app.Discrepancy) error {
				gauge.end()
				if *asJSON {
					return printJSON(c, d)
				}
				printDiscrepancy(c, d)
				return nil
			},
		}
		sum, err := app.Verify(c.Context(), cfg, b.connectors, o, quiet())
		gauge.end()
		switch {
		case err != nil:
			return err
		case *asJSON:
			err = printJSON(c, sum)
		default:
			printVerification(c, sum)
		}
		if err == nil && sum.Left > 0 {
			err = silentError{fmt.Errorf("%d differences are left", sum.Left)}
		}
		return err
	}
	return c
}

func printDiscrepancy(c *cobra.Command, d *app.Discrepancy) {
	w := c.OutOrStdout()
	if d.Name != "" {
		fmt.Fprintf(w, "%-9s  %s (no policy of the source accounts for it)\n", d.Difference, line(d.Name, 200))
		return
	}
	version := ""
	if d.Version != nil {
		version = fmt.Sprintf(" version %d", *d.Version)
	}
	end := ""
	switch {
	case d.Repaired:
		end = ", pushed again"
	case d.RepairError != "":
		end = ", not repaired: " + flat(d.RepairError)
	}
	fmt.Fprintf(w, "%-9s  %s%s (%s/%d, offset %d)%s\n", d.Difference, line(d.Key, 100), version, d.Topic, d.Part, d.Offset, end)
	for _, f := range d.Fields {
		fmt.Fprintf(w, "           %s: want %s, have %s\n", f.Field, line(f.Want, 100), line(f.Have, 100))
	}
}

func printVerification(c *cobra.Command, s *app.Verification) {
	w := c.OutOrStdout()
	fmt.Fprintf(w, "%s: %s in %s\n", s.Target, counted(s.Keys, "policy", "policies"), counted(int(s.Records), "record", "records"))
	for _, d := range []connector.Difference{connector.Missing, connector.Stale, connector.Different, connector.Extra, connector.Newer} {
		if n := s.Differences[d]; n > 0 {
			fmt.Fprintf(w, "  %-10s %d\n", d, n)
		}
	}
	if s.Pending > 0 {
		fmt.Fprintf(w, "  %-10s %d, not compared: their newest version has not settled\n", "pending", s.Pending)
	}
	if s.Unreadable > 0 {
		fmt.Fprintf(w, "  %-10s %d records, left out\n", "unreadable", s.Unreadable)
	}
	fmt.Fprintf(w, "  %d pushed again, %s left\n", s.Repaired, counted(s.Left, "difference", "differences"))
}
