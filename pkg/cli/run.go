package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
)

func newRun(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run the service",
		Long: `Run one member of the consumer group until SIGTERM or SIGINT: then it stops
fetching, lets attempts in flight end for up to drain_timeout, and commits. A
second signal cuts this short; what was in flight is then pushed again later.`,
		Example: example("policysync run -c policysync.yaml"),
		Args:    cobra.NoArgs,
	}
	load, logger := configFlag(c, b), logFlags(c, "info")
	leave := c.Flags().Bool("leave-group", false, "leave the group at the end also with an instance_id: for a scale-down")
	c.RunE = func(c *cobra.Command, _ []string) error {
		log, err := logger()
		if err != nil {
			return err
		}
		cfg, err := load()
		if err != nil {
			return err
		}
		limitHeap(cfg)
		stopConsole := func() error { return nil }
		if cfg.Admin.Console {
			own, err := load() // the member compiles the expressions of its own
			if err != nil {
				return err
			}
			if stopConsole, err = startConsole(c.Context(), b, own, log); err != nil {
				return err
			}
		}
		a := app.New(cfg, app.Options{Version: b.release(), Registry: b.connectors, Logger: log, Leave: *leave})
		if err = a.Start(c.Context()); err == nil {
			<-c.Context().Done()
		}
		second := make(chan os.Signal, 1)
		signal.Notify(second, os.Interrupt, syscall.SIGTERM) // before it says that a first one has come
		switch {
		case err == nil:
			log.Info("stopping")
		case c.Context().Err() != nil:
			err = nil // told to stop before it was up
		}
		stopped := make(chan error, 1)
		go func() {
			// The drain has its own bound; what closes after it gets its time too.
			ctx, cancel := context.WithTimeout(context.Background(), cfg.DrainTimeout+30*time.Second)
			defer cancel()
			stopped <- errors.Join(stopConsole(), a.Stop(ctx))
		}()
		select {
		case <-second:
			return errors.Join(err, errors.New("stopped by a second signal: what was in flight is pushed again by the next member"))
		case stopErr := <-stopped:
			return errors.Join(err, stopErr)
		}
	}
	return c
}

// limitHeap has Go collect garbage more often rather than take more than `memory`, less
// what it does not count, and what attempts in flight need beside: too close to what is in
// use, the limit would cost more CPU than the pushes. A GOMEMLIMIT that is lower stays.
// Well below the limit Go collects less often than it would by itself: while there is
// little to do, what is in use is little too, and to collect it disturbs the pushes.
func limitHeap(cfg *config.Config) {
	const (
		program = 24 << 20 // of the binary in memory, roughly
		attempt = 32 << 10 // a connection's buffers and the stacks of its goroutines
	)
	memory := int64(cfg.Memory)
	limit := max(memory-program, memory/2)
	for _, t := range cfg.Targets {
		limit += attempt * int64(t.Concurrency)
	}
	debug.SetMemoryLimit(min(limit, debug.SetMemoryLimit(-1)))
	if _, given := os.LookupEnv("GOGC"); !given {
		debug.SetGCPercent(400)
	}
}
