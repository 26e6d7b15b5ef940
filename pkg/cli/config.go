package cli

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// configFlag adds -c and returns how to load what it names. As with [config.Load],
// a config may come beside its mistakes.
func configFlag(c *cobra.Command, b build) func() (*config.Config, error) {
	path := c.Flags().StringP("config", "c", "", "the config `FILE`")
	return func() (*config.Config, error) {
		if *path == "" {
			return nil, usageError{fmt.Errorf("no config given: -c FILE; see `%s --help`", c.CommandPath())}
		}
		cfg, err := config.Load(*path, b.connectors)
		if cfg == nil && err != nil {
			err = usageError{err}
		}
		return cfg, err
	}
}

// previewer returns how to make one of a config, for what may not need it.
func previewer(c *cobra.Command, b build, cfg *config.Config) func() (*app.Previewer, error) {
	return func() (*app.Previewer, error) { return app.NewPreviewer(c.Context(), cfg, b.connectors, quiet()) }
}

// logFlags adds the flags of logging and returns the logger that they ask for.
func logFlags(c *cobra.Command, level string) func() (*slog.Logger, error) {
	text := c.Flags().String("log-level", level, "debug, info, warn or error")
	format := c.Flags().String("log-format", "auto", "json, text, or auto: text on a terminal")
	return func() (*slog.Logger, error) {
		var l slog.Level
		if err := l.UnmarshalText([]byte(*text)); err != nil {
			return nil, usageError{fmt.Errorf("--log-level %q: want debug, info, warn or error", *text)}
		}
		json := *format == "json"
		switch *format {
		case "json", "text":
		case "auto":
			json = !terminal(os.Stderr)
		default:
			return nil, usageError{fmt.Errorf("--log-format %q: want json, text or auto", *format)}
		}
		return telemetry.NewLogger(os.Stderr, l, json), nil
	}
}

// printJSON prints a line of JSON, with its characters as they are.
func printJSON(c *cobra.Command, v any) error {
	out := json.NewEncoder(c.OutOrStdout())
	out.SetEscapeHTML(false)
	return out.Encode(v)
}

// quiet is the logger of commands whose errors are enough.
func quiet() *slog.Logger {
	return slog.New(slog.DiscardHandler)
}

// terminal reports whether somebody looks at f.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// example indents the text of an example for --help.
func example(lines ...string) string { return "  " + strings.Join(lines, "\n  ") }
