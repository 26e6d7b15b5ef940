package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
)

func newLettersShow(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "show -c FILE ID",
		Short: "Show one dead letter: its error, its event, and what would be sent now",
		Long: `Show all that is known of one dead letter: the whole error, what became of it, the
headers and the event of the original record, and what its target would be sent by
this config, as ` + "`policysync map`" + ` shows it. The record of a letter that is only a
reference is read from its source.`,
		Example: example("policysync dead-letters show -c policysync.yaml 0f8f…/3/42/legacyDatabase"),
		Args:    cobra.ExactArgs(1),
	}
	open := lettersFlag(c, b)
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		return open(func(cfg *config.Config, letters *app.Letters) error {
			v, err := letters.Show(c.Context(), args[0], previewer(c, b, cfg))
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(c, v)
			}
			return printLetter(c.OutOrStdout(), v)
		})
	}
	return c
}

func printLetter(w io.Writer, v *app.LetterView) error {
	d := v.LetterDocument
	fmt.Fprintf(w, "dead letter %s\n", d.ID)
	field := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-13s %s\n", name, flat(fmt.Sprintf(format, args...)))
	}
	field("target", "%s", orDash(d.Target))
	field("error", "%s: %s", d.Class, d.Error)
	field("attempts", "%d", d.Attempts)
	if d.FirstAttempt != nil && d.LastAttempt != nil {
		field("between", "%s and %s", stamp(*d.FirstAttempt), stamp(*d.LastAttempt))
	}
	field("written", "%s", stamp(d.Written))
	if d.Key != nil {
		field("key", "%s", *d.Key)
	}
	if d.Version != nil {
		field("version", "%d", *d.Version)
	}
	field("source", "%s/%d, offset %d, %s", d.Topic, d.Partition, d.Offset, stamp(d.Timestamp))
	if d.SchemaID != 0 {
		field("schema id", "%d", d.SchemaID)
	}
	if d.Trace != "" {
		field("trace", "%s", d.Trace)
	}
	if r := v.Resolution; r != nil {
		outcome := r.Outcome
		if r.Result != "" {
			outcome += " by command " + r.Command + ", " + r.Result + ","
		}
		field("resolved", "%s %s by %s: %s", outcome, stamp(r.Time), r.By, r.Reason)
	}
	for _, h := range v.Headers {
		field("header", "%s: %s", h.Name, h.Value)
	}
	if v.NotReadable != "" {
		field("now", "this config can't read or map it: %s", v.NotReadable)
	}
	if v.Delivered != nil && !*v.Delivered {
		field("now", "routing would keep it from the target")
	}
	return errors.Join(indented(w, "event", v.Event), indented(w, "would be sent", v.Document))
}

func indented(w io.Writer, title string, document json.RawMessage) error {
	if document == nil {
		return nil
	}
	var text bytes.Buffer
	if err := json.Indent(&text, document, "", "  "); err != nil {
		return fmt.Errorf("print %s: %w", title, err)
	}
	_, err := fmt.Fprintf(w, "\n%s\n%s\n", title, text.Bytes())
	return err
}
