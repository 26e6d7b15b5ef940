package cli

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/deadletter"
)

func newDeadLetters(b build) *cobra.Command {
	c := &cobra.Command{
		Use:     "dead-letters",
		Aliases: []string{"dead-letter"},
		Short:   "See what could not be delivered, and settle it",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newLettersList(b), newLettersShow(b), newLettersRedrive(b), newLettersDiscard(b))
	return c
}

// letterFlags adds the flags that select letters and returns how to read them.
func letterFlags(c *cobra.Command) func() (*deadletter.Filter, error) {
	f := &deadletter.Filter{}
	c.Flags().StringVar(&f.Target, "target", "", "those of one target")
	c.Flags().StringVar(&f.Class, "class", "", "those whose last error was permanent, transient, unavailable or throttled")
	c.Flags().StringVar(&f.Error, "error", "", "those whose error contains the text")
	since := c.Flags().String("since", "", "those written since then: a time in RFC 3339, or a duration such as 2h")
	key := c.Flags().String("key", "", "those of one record key")
	return func() (*deadletter.Filter, error) {
		if c.Flags().Changed("key") {
			f.Key = key
		}
		if *since == "" {
			return f, nil
		}
		if d, err := time.ParseDuration(*since); err == nil {
			f.Since = time.Now().Add(-d)
			return f, nil
		}
		var err error
		if f.Since, err = time.Parse(time.RFC3339, *since); err != nil {
			return nil, usageError{fmt.Errorf("--since %q: want a time such as 2026-11-24T08:00:00Z, or a duration such as 2h", *since)}
		}
		return f, nil
	}
}

func newLettersList(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "list -c FILE [--target T] [--class C] [--since T] [--key K] [--error TEXT] [--group]",
		Short: "List the dead letters that nobody has resolved",
		Long: `List the dead letters that were neither redriven nor discarded, each once. With
--group, count those of one target, class and error. They are read from Kafka and
need no running member. --json prints one JSON object a line.`,
		Example: example("policysync dead-letters list -c policysync.yaml --target legacyDatabase --since 24h",
			"policysync dead-letters list -c policysync.yaml --group"),
		Args: cobra.NoArgs,
	}
	open, filter := lettersFlag(c, b), letterFlags(c)
	group := c.Flags().Bool("group", false, "count by target, class and error")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		f, err := filter()
		if err != nil {
			return err
		}
		return open(func(_ *config.Config, letters *app.Letters) error {
			out := newLetterPrinter(c.OutOrStdout(), *group, *asJSON)
			problems, err := letters.Unresolved(c.Context(), f, out.add)
			if err != nil {
				return err
			}
			warn(c, problems)
			return out.end()
		})
	}
	return c
}

// lettersFlag adds -c and returns how to open the dead letters of what it names, for as
// long as f runs.
func lettersFlag(c *cobra.Command, b build) func(f func(*config.Config, *app.Letters) error) error {
	load := configFlag(c, b)
	return func(f func(*config.Config, *app.Letters) error) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		letters, err := app.OpenLetters(cfg, quiet())
		if err != nil {
			return err
		}
		defer letters.Close()
		return f(cfg, letters)
	}
}

// selected reads which letters a command that changes something is for.
func selected(filter func() (*deadletter.Filter, error), ids []string) (*deadletter.Filter, error) {
	f, err := filter()
	if err != nil {
		return nil, err
	}
	if f.IDs = ids; f.All() {
		return nil, usageError{errors.New("nothing selected: give ids, or at least one of --target, --class, --since, --key, --error")}
	}
	return f, nil
}

func warn(c *cobra.Command, problems []error) {
	for _, p := range problems {
		fmt.Fprintln(c.ErrOrStderr(), "policysync: not readable:", p)
	}
}

func newLettersDiscard(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "discard -c FILE (ID… | --target T | --class C | --since T | --key K | --error TEXT) --reason TEXT [--dry-run]",
		Short: "Settle dead letters that need no delivery any more",
		Long: `Write to the receipts topic that these dead letters are discarded, by whom, when and
why. The letters themselves stay on their topic; nothing lists them any more.`,
		Example: example(`policysync dead-letters discard -c policysync.yaml --target legacyDatabase --key DOI-7 --reason "entered by hand"`),
		Args:    cobra.ArbitraryArgs,
	}
	open, filter := lettersFlag(c, b), letterFlags(c)
	reason := c.Flags().String("reason", "", "why, for those who ask later")
	by := c.Flags().String("by", "", "who; you, as this machine knows you, unless given")
	dryRun := c.Flags().Bool("dry-run", false, "say which, and do nothing")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, ids []string) error {
		f, err := selected(filter, ids)
		if err != nil {
			return err
		}
		if *reason == "" && !*dryRun {
			return usageError{errors.New("no reason given: --reason TEXT")}
		}
		return open(func(_ *config.Config, letters *app.Letters) error {
			found, problems, err := unresolved(c, letters, f)
			if err != nil {
				return err
			}
			warn(c, problems)
			if !*dryRun {
				if err := letters.Discard(c.Context(), found, originOf(*by, *reason)); err != nil {
					return err
				}
			}
			if err := printDiscarded(c, found, *dryRun, *asJSON); err != nil {
				return err
			}
			return unknownLetters(ids, found)
		})
	}
	return c
}

func printDiscarded(c *cobra.Command, ids []string, dryRun, asJSON bool) error {
	if asJSON {
		return printJSON(c, map[string]any{"discarded": ids, "dry_run": dryRun})
	}
	for _, id := range ids {
		fmt.Fprintln(c.OutOrStdout(), id)
	}
	what := "discarded"
	if dryRun {
		what = "would be discarded"
	}
	fmt.Fprintf(c.OutOrStdout(), "%s %s\n", counted(len(ids), "dead letter", "dead letters"), what)
	return nil
}

// unresolved gives the ids of the letters that the filter selects and nobody has resolved.
func unresolved(c *cobra.Command, letters *app.Letters, f *deadletter.Filter) (ids []string, problems []error, err error) {
	ids = []string{}
	problems, err = letters.Unresolved(c.Context(), f, func(l *app.StoredLetter) error {
		ids = append(ids, l.ID)
		return nil
	})
	return ids, problems, err
}

// unknownLetters is the error of ids that nothing was found for.
func unknownLetters(ids, found []string) error {
	var errs []error
	for _, id := range ids {
		if !slices.Contains(found, id) {
			errs = append(errs, fmt.Errorf("dead letter %s: not there, resolved already, or not selected", id))
		}
	}
	return errors.Join(errs...)
}

// originOf is the one who runs the command, by the name given or as the machine knows
// them.
func originOf(name, reason string) control.Origin {
	o := app.Origin(reason)
	if name != "" {
		o.By = name
	}
	return o
}
