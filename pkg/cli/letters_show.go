package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
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
	load := configFlag(c, b)
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		letters, err := app.OpenLetters(cfg, quiet())
		if err != nil {
			return err
		}
		defer letters.Close()
		letter, resolved, err := letters.Find(c.Context(), args[0])
		if err != nil {
			return err
		}
		v := letterView{LetterDocument: letter.Document(), Resolution: resolved}
		original, err := letters.Original(c.Context(), letter)
		if err != nil {
			v.NotReadable = err.Error()
		} else if err := v.decode(c.Context(), b, cfg, original, letter.Target); err != nil {
			v.NotReadable = err.Error()
		}
		out := json.NewEncoder(c.OutOrStdout())
		out.SetEscapeHTML(false)
		if *asJSON {
			return out.Encode(v)
		}
		return v.print(c.OutOrStdout())
	}
	return c
}

// letterView is a letter with its record as this config reads it.
type letterView struct {
	*app.LetterDocument
	Resolution *receipt.Resolution `json:"resolution,omitempty"`
	// Headers are the original record's.
	Headers []letterHeader  `json:"headers,omitempty"`
	Event   json.RawMessage `json:"event,omitempty"`
	// Delivered is false if routing would keep the event from the target now.
	Delivered *bool           `json:"delivered,omitempty"`
	Document  json.RawMessage `json:"document,omitempty"`
	// NotReadable says how far this config came with the record.
	NotReadable string `json:"not_readable,omitempty"`
}

type letterHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// decode reads the record as the service would now, and maps it for the target.
func (v *letterView) decode(ctx context.Context, b build, cfg *config.Config, r *event.Record, target string) error {
	if r.Key != nil && v.Key == nil {
		key := string(r.Key)
		v.Key = &key
	}
	for _, h := range r.Headers {
		v.Headers = append(v.Headers, letterHeader{h.Key, shown(h.Value)})
	}
	p, err := app.NewPreviewer(ctx, cfg, b.connectors, quiet())
	if err != nil {
		return err
	}
	ev, err := p.Event(ctx, r)
	if err != nil {
		return err
	}
	if v.Event, err = app.EventDocument(ev.Value); err != nil {
		return fmt.Errorf("print event: %w", err)
	}
	if target == "" {
		return nil
	}
	preview, err := p.Preview(ctx, target, r)
	if err != nil {
		return err
	}
	v.Delivered, v.Document = &preview.Delivered, preview.Document
	return nil
}

// shown is a header's value as text; bytes that are none are quoted.
func shown(value []byte) string {
	if utf8.Valid(value) {
		return string(value)
	}
	return fmt.Sprintf("%q", value)
}

func (v *letterView) print(w io.Writer) error {
	d := v.LetterDocument
	fmt.Fprintf(w, "dead letter %s\n", d.ID)
	field := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-13s %s\n", name, fmt.Sprintf(format, args...))
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
		field("resolved", "%s %s by %s: %s", r.Outcome, stamp(r.Time), r.By, r.Reason)
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
