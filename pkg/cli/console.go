package cli

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/console"
)

func newConsole(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "console -c FILE",
		Short: "Serve the web console",
		Long: `Serve the web console at admin.listen until SIGTERM or SIGINT. It reads Kafka and
shows all members; it needs none that runs and is none itself. ` + "`admin: {console: true}`" + `
serves it from each member instead. Without a login, which the config's admin section
sets up, it listens on loopback only and changes nothing.`,
		Example: example("policysync console -c policysync.yaml"),
		Args:    cobra.NoArgs,
	}
	load, logger := configFlag(c, b), logFlags(c, "info")
	c.RunE = func(c *cobra.Command, _ []string) error {
		log, err := logger()
		if err != nil {
			return err
		}
		cfg, err := load()
		if err != nil {
			return err
		}
		stop, err := startConsole(c.Context(), b, cfg, log)
		if err != nil {
			return err
		}
		<-c.Context().Done()
		return stop()
	}
	return c
}

// startConsole serves the console until stop is called.
func startConsole(ctx context.Context, b build, cfg *config.Config, log *slog.Logger) (stop func() error, err error) {
	web, err := console.Start(ctx, cfg, console.Options{Version: b.release(), Registry: b.connectors, Logger: log})
	if err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return web.Stop(ctx)
	}, nil
}
