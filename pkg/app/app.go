// Package app is the composition root: it makes the parts that a config asks for,
// joins them, starts and stops them. It is the only package that sees everything,
// and it decides nothing about a record.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hms-sme/policysync/pkg/admin"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/delivery"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// Options are what the config does not say.
type Options struct {
	Version  string
	Registry connector.Registry
	Logger   *slog.Logger
	// Leave takes a static member out of the group when it stops: a scale-down.
	Leave bool
}

// App is the service: one member of the consumer group.
type App struct {
	cfg *config.Config
	o   Options

	telemetry *telemetry.Telemetry
	admin     *admin.Server
	engine    *delivery.Engine
	group     *kafka.Group
	ready     atomic.Bool

	// closers undo what Start did, last first; each with the name of the part.
	closers []closer
	stop    sync.Once
}

type closer struct {
	name  string
	close func(context.Context) error
}

// New returns an app that has started nothing.
func New(cfg *config.Config, o Options) *App { return &App{cfg: cfg, o: o} }

// Start makes every part and joins the group. It waits for Kafka and the schema
// registry for as long as ctx allows, since expressions are checked against the
// schemas before anything is read; the health server answers meanwhile. Stop must
// be called also if Start fails.
func (a *App) Start(ctx context.Context) error {
	log := a.o.Logger
	var err error
	if a.telemetry, err = telemetry.Setup(ctx, a.cfg.Telemetry, a.o.Version, log); err != nil {
		return err
	}
	a.onStop("telemetry", func(ctx context.Context) error { a.telemetry.Shutdown(ctx); return nil })
	a.admin = admin.NewHealth(a.cfg.Health, admin.Checks{
		Live: a.live, Ready: a.readiness, Metrics: a.telemetry.Handler(),
	}, log)
	if err := a.admin.Start(ctx); err != nil {
		return err
	}
	a.onStop("health server", a.admin.Stop)

	p, err := a.compile(ctx)
	if err != nil {
		return err
	}
	timing, err := a.checkKafka(ctx)
	if err != nil {
		return err
	}
	return a.join(ctx, p, timing.Session)
}

// join makes the targets and the engine, and joins the group.
func (a *App) join(ctx context.Context, p *Plan, session time.Duration) error {
	metrics, err := telemetry.NewMetrics(a.telemetry.MeterProvider, p.names(), a.cfg.Kafka.Topics)
	if err != nil {
		return fmt.Errorf("make metrics: %w", err)
	}
	producer, err := kafka.NewProducer(a.cfg.Kafka, a.o.Logger)
	if err != nil {
		return err
	}
	a.onStop("dead-letter producer", func(context.Context) error { return producer.Close() })
	letters := kafka.Letters{
		Producer: producer, Topic: a.cfg.DeadLetters.Topic, References: a.cfg.DeadLetters.Content == "reference",
	}
	targets, err := p.targets(ctx, letters, metrics, a.o.Logger)
	if err != nil {
		return err
	}
	receipts, err := kafka.NewReceipts(a.cfg.Kafka, a.cfg.Receipts.Topic, a.o.Logger)
	if err != nil {
		return err
	}
	a.onStop("receipts producer", func(context.Context) error { receipts.Close(); return nil })
	stored, err := OpenLetters(a.cfg, a.o.Logger)
	if err != nil {
		return err
	}
	a.onStop("reader of dead letters", func(context.Context) error { stored.Close(); return nil })
	redrives := newRedriver(stored, receipts, a.o.Logger)
	sweep := &sweeper{cfg: a.cfg, log: a.o.Logger}
	var group atomic.Pointer[kafka.Group]
	a.engine = delivery.NewEngine(delivery.Config{
		Targets: targets, Decoder: p.Decoder, Reader: p.Reader, Router: p.Router, Letters: letters, Redact: p.Redactor,
		Feeds:       kafka.NewCatchUps(a.cfg.Kafka, a.o.Logger),
		Receipts:    !a.cfg.Receipts.Off,
		Proofs:      proofs{stored.adm, a.cfg.Receipts.Topic},
		Assigned:    redrives.assigned,
		CommitEvery: a.cfg.Checkpoint.Every,
		Memory:      int64(a.cfg.Memory),
		CommitNow: func() {
			if g := group.Load(); g != nil {
				g.CommitNow()
			}
		},
		Tracer:  telemetry.NewTracer(a.telemetry.TracerProvider, a.cfg.Kafka.Group),
		Metrics: metrics, Logger: a.o.Logger,
	})
	a.onStop("targets", a.engine.Close)
	redrives.engine = a.engine
	a.onStop("redrives", func(context.Context) error { redrives.stop(); return nil })
	if err := a.follow(ctx, redrives, sweep); err != nil {
		return err
	}
	checking, cancel := context.WithCancel(ctx)
	var checks sync.WaitGroup
	for i, t := range targets {
		checks.Go(func() { a.check(checking, t.Name(), p.connectors[i]) })
	}
	a.onStop("checks of the targets", func(context.Context) error { cancel(); checks.Wait(); return nil })
	sweeping, end := context.WithCancel(context.WithoutCancel(ctx))
	var sweeps sync.WaitGroup
	sweeps.Go(func() { sweep.run(sweeping) })
	a.onStop("sweep of commands", func(context.Context) error { end(); sweeps.Wait(); return nil })
	telling, stop := context.WithCancel(context.WithoutCancel(ctx))
	told := make(chan struct{})
	go func() { defer close(told); a.tell(telling, receipts) }()
	a.onStop("record of this member", func(context.Context) error { stop(); <-told; return nil })
	a.group, err = kafka.Join(a.cfg.Kafka, kafka.GroupConfig{
		Engine: a.engine, Session: session, Drain: a.cfg.DrainTimeout, Interval: a.cfg.Checkpoint.Interval, Logger: a.o.Logger,
		Receipts: receipts, Committed: metrics.Committed,
	})
	if err != nil {
		return err
	}
	group.Store(a.group)
	a.onStop("group member", func(context.Context) error { a.group.Stop(a.o.Leave); return nil })
	if err := metrics.Observe(a.snapshot); err != nil {
		return fmt.Errorf("observe metrics: %w", err)
	}
	a.ready.Store(true)
	a.o.Logger.InfoContext(ctx, "joined", "group", a.cfg.Kafka.Group, "topics", a.cfg.Kafka.Topics, "targets", p.names())
	return nil
}

// check says early and loudly what a target's own check finds. It keeps nothing
// from starting: a target that is down is the breaker's affair.
func (a *App) check(ctx context.Context, target string, c connector.Connector) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := checkConnector(ctx, c); err != nil && ctx.Err() == nil {
		a.o.Logger.ErrorContext(ctx, "target does not pass its check; deliveries to it will wait or fail until it does",
			"target", target, "err", err)
	}
}

// checkConnector has a connector check its target, if it can.
func checkConnector(ctx context.Context, c connector.Connector) (err error) {
	defer connector.Recovered(&err)
	if checker, ok := c.(connector.Checker); ok {
		return checker.Check(ctx)
	}
	return nil
}

// checkKafka refuses to start without the topics that a delivery may depend on, and
// with timeouts that the group leaves no room for.
func (a *App) checkKafka(ctx context.Context) (timing kafka.Timing, err error) {
	adm, err := kafka.NewAdmin(a.cfg.Kafka, a.o.Logger)
	if err != nil {
		return timing, err
	}
	defer adm.Close()
	var missing []string
	err = a.persist(ctx, "kafka", func(ctx context.Context) (err error) {
		if missing, err = adm.Missing(ctx, neededTopics(a.cfg)...); err == nil {
			timing, err = adm.Timing(ctx)
		}
		return err
	})
	switch {
	case err != nil:
		return timing, err
	case len(missing) > 0:
		return timing, fmt.Errorf("topics do not exist: %s; `policysync topics create` makes policysync's own", strings.Join(missing, ", "))
	}
	return timing, a.cfg.CheckTiming(timing)
}

// persist repeats f until it succeeds, fails for good or ctx ends, with a log line
// per try. What can't get better by waiting is a mistake in the config.
func (a *App) persist(ctx context.Context, what string, f func(context.Context) error) error {
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 15*time.Second) {
		err := f(ctx)
		var mistakes *config.Error
		if err == nil || ctx.Err() != nil || errors.As(err, &mistakes) {
			return err
		}
		a.o.Logger.WarnContext(ctx, "a part is not there yet", "part", what, "err", err, "again_in", wait)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// live fails when the process holds partitions but makes no progress: heartbeats
// would keep them here for ever.
func (a *App) live() error {
	if !a.ready.Load() {
		return nil
	}
	return errors.Join(a.group.Health(), a.engine.Stuck(5*time.Minute))
}

// readiness is what a rolling update waits for before it takes the next member: the
// group has taken this one in. It stays so whatever comes after.
func (a *App) readiness() error {
	switch {
	case !a.ready.Load():
		return errors.New("starting")
	case !a.group.Joined():
		return errors.New("joining the group")
	}
	return nil
}

func (a *App) snapshot() telemetry.Snapshot {
	s := a.engine.Snapshot()
	s.CommitAge = a.group.CommitAge()
	return s
}

// Snapshot is what the metrics show of this process. It is empty before Start has
// returned.
func (a *App) Snapshot() telemetry.Snapshot {
	if !a.ready.Load() {
		return telemetry.Snapshot{}
	}
	return a.snapshot()
}

// HealthAddr is where the health server listens, once Start has begun it.
func (a *App) HealthAddr() string { return a.admin.Addr() }

func (a *App) onStop(name string, f func(context.Context) error) {
	a.closers = append(a.closers, closer{name, f})
}

// Stop drains what is in flight, commits, and undoes Start. It may be called
// twice, and after a failed Start.
func (a *App) Stop(ctx context.Context) error {
	var errs []error
	a.stop.Do(func() {
		for _, c := range slices.Backward(a.closers) {
			if err := c.close(ctx); err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", c.name, err))
			}
		}
	})
	return errors.Join(errs...)
}
