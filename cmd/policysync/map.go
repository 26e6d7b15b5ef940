package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/connectors"
	"github.com/hms-sme/policysync/pkg/app"
)

func newMap() *cobra.Command {
	c := &cobra.Command{
		Use:   "map -c FILE --target T --event FILE",
		Short: "Show what an event would make a target send, and send nothing",
		Long: `Read one event, as ` + "`policysync produce`" + ` reads a line ({"key": "P-1", "value": {…}}),
and print what the target would be sent.`,
		Example: example("policysync map -c policysync.yaml --target legacyDatabase --event event.json"),
		Args:    cobra.NoArgs,
	}
	load := configFlag(c)
	target := c.Flags().String("target", "", "the target's name")
	file := c.Flags().String("event", "-", "the file with the event; - is standard input")
	topic := c.Flags().String("topic", "", "the event's topic; the config's first one unless given")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *target == "" {
			return usageError{errors.New("no target given: --target T")}
		}
		cfg, err := load()
		if err != nil {
			return err
		}
		if *topic == "" {
			*topic = cfg.Kafka.Topics[0]
		}
		text, err := readAll(c, *file)
		if err != nil {
			return usageError{err}
		}
		preview, err := app.PreviewEvent(c.Context(), cfg, connectors.Builtin(), *target, *topic, text, quiet())
		if errors.Is(err, app.ErrNoTarget) {
			return usageError{err}
		}
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
