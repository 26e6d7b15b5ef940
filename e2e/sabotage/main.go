// Command sabotage is `policysync run` with a fault planted in its connectors, so
// that the end-to-end check can be seen to find what it is for. The product has no
// such hook: the fault sits in a connector around each other one.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hms-sme/policysync/connectors"
	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "sabotage:", err)
		os.Exit(1)
	}
}

func run() error {
	file := flag.String("c", "", "the config")
	fault := flag.String("fault", "", "none; skip-one: confirm the 100th delivery without a push; commit-before-push: confirm each 300 ms before it is pushed")
	flag.Parse()
	faults := map[string]func(connector.Connector) connector.Connector{
		"none":               func(c connector.Connector) connector.Connector { return broken{c} },
		"skip-one":           func(c connector.Connector) connector.Connector { return &skipOne{broken: broken{c}} },
		"commit-before-push": func(c connector.Connector) connector.Connector { return &early{broken{c}} },
	}
	plant := faults[*fault]
	if plant == nil {
		return fmt.Errorf("unknown fault %q", *fault)
	}
	registry := connector.Registry{}
	for name, kind := range connectors.Builtin() {
		construct := kind.New
		kind.New = func(ctx context.Context, cfg any, env connector.Env) (connector.Connector, error) {
			c, err := construct(ctx, cfg, env)
			if err != nil {
				return nil, err
			}
			return plant(c), nil
		}
		registry[name] = kind
	}
	cfg, err := config.Load(*file, registry)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := app.New(cfg, app.Options{Version: "sabotaged", Registry: registry, Logger: telemetry.NewLogger(os.Stderr, nil, true)})
	if err := a.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return a.Stop(context.Background())
}

// broken is a connector that takes one delivery at a time.
type broken struct{ connector.Connector }

// Prepare implements [connector.Preparer].
func (b broken) Prepare(d *connector.Delivery) error {
	if p, ok := b.Connector.(connector.Preparer); ok {
		return p.Prepare(d)
	}
	return nil
}

// skipOne confirms one delivery that it has not pushed.
type skipOne struct {
	broken

	n atomic.Int64
}

// Push implements [connector.Connector].
func (s *skipOne) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	if s.n.Add(1) == 100 {
		return connector.Receipt{}, nil
	}
	return s.Connector.Push(ctx, d)
}

// early confirms each delivery before it pushes it.
type early struct{ broken }

// Push implements [connector.Connector].
func (e *early) Push(_ context.Context, d *connector.Delivery) (connector.Receipt, error) {
	own := *d
	go func() {
		<-time.After(300 * time.Millisecond)
		_, _ = e.Connector.Push(context.Background(), &own) // the fault: nobody hears of a failure
	}()
	return connector.Receipt{}, nil
}
