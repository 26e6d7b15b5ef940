package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/event"
)

func newMap(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "map -c FILE --target T (--event FILE | --record TOPIC/PARTITION/OFFSET)",
		Short: "Show what an event would make a target send, and send nothing",
		Long: `Read one event, as ` + "`policysync produce`" + ` reads a line ({"key": "P-1", "value": {…}}),
or a record that is in Kafka, and print what the target would be sent.`,
		Example: example("policysync map -c policysync.yaml --target legacyDatabase --event event.json",
			"policysync map -c policysync.yaml --target legacyDatabase --record policy-events/3/1042"),
		Args: cobra.NoArgs,
	}
	load := configFlag(c, b)
	target := c.Flags().String("target", "", "the target's name")
	file := c.Flags().String("event", "-", "the file with the event; - is standard input")
	stored := c.Flags().String("record", "", "the place of a record in Kafka, `TOPIC/PARTITION/OFFSET`")
	topic := c.Flags().String("topic", "", "the event's topic; the config's first one unless given")
	c.MarkFlagsMutuallyExclusive("event", "record")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *target == "" {
			return usageError{errors.New("no target given: --target T")}
		}
		cfg, err := load()
		if err != nil {
			return err
		}
		p, err := app.NewPreviewer(c.Context(), cfg, b.connectors, quiet())
		if err != nil {
			return err
		}
		var record *event.Record
		if *stored != "" {
			record, err = readStored(c.Context(), p, *stored)
		} else {
			record, err = readEvent(c, p, *topic, *file)
		}
		if err != nil {
			return err
		}
		preview, err := p.Preview(c.Context(), *target, record)
		if err != nil {
			return err
		}
		out := json.NewEncoder(c.OutOrStdout())
		out.SetIndent("", "  ")
		out.SetEscapeHTML(false)
		return out.Encode(preview)
	}
	return c
}

func readEvent(c *cobra.Command, p *app.Previewer, topic, file string) (*event.Record, error) {
	text, err := readAll(c, file)
	if err != nil {
		return nil, usageError{err}
	}
	return p.Line(c.Context(), topic, text)
}

// readStored reads a record whose place is written as letters and logs write it.
func readStored(ctx context.Context, p *app.Previewer, place string) (*event.Record, error) {
	parts := strings.Split(place, "/")
	if len(parts) != 3 {
		return nil, usageError{fmt.Errorf("--record %q: want TOPIC/PARTITION/OFFSET", place)}
	}
	partition, err1 := strconv.ParseInt(parts[1], 10, 32)
	offset, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return nil, usageError{fmt.Errorf("--record %q: want TOPIC/PARTITION/OFFSET: %w", place, err)}
	}
	return p.Stored(ctx, parts[0], int32(partition), offset)
}

func readAll(c *cobra.Command, path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(c.InOrStdin())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	return text, nil
}
