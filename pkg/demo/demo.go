// Package demo runs all of policysync in one process, with nothing outside it: an
// embedded broker and registry, a scheduling API, a legacy database and a
// warehouse in files. It publishes policies and processes, breaks the scheduling
// API, heals it, and asks the external systems what they have.
//
// It owns the story and the external systems. What is shown is the service itself,
// made by package app from a config that an operator could have written.
package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/kafka"
)

//go:embed demo.yaml
var configTemplate string

// Options say how to run the demo.
type Options struct {
	Registry connector.Registry
	Version  string
	// Sabotage breaks policysync on purpose: "skip-one" confirms one delivery
	// without pushing it. The demo must then find a loss.
	Sabotage string
	Screen   *Screen
}

// How much is published, and when.
const (
	policies  = 40
	processes = 20
	rounds    = 12                    // versions per policy
	pace      = 10 * time.Millisecond // between two events
	breakAt   = 3                     // the round in which the scheduling API breaks
	healAt    = 8                     // and the one in which it heals
)

// Run runs the demo. It takes some ten seconds.
func Run(ctx context.Context, o Options) (*Result, error) {
	skipAt := ""
	switch o.Sabotage {
	case "":
	case "skip-one":
		skipAt = "schedulingTool"
	default:
		return nil, ErrSabotage
	}
	p, err := newPlatform(ctx)
	if err != nil {
		return nil, err
	}
	defer p.close()
	ts := tallies{}
	watched := ts.watch(o.Registry, skipAt)
	cfg, err := config.LoadBytes("demo.yaml", []byte(p.config(configTemplate)), watched)
	if err != nil {
		return nil, err
	}
	// The log would hide what the demo shows; the breaker and the rest are on the screen.
	log := slog.New(slog.DiscardHandler)
	if _, err := app.CreateTopics(ctx, cfg, log); err != nil {
		return nil, err
	}
	service := app.New(cfg, app.Options{Version: o.Version, Registry: watched, Logger: log})
	err = service.Start(ctx)
	var result *Result
	if err == nil {
		d := &show{platform: p, service: service, tallies: ts, screen: o.Screen}
		result, err = d.play(ctx, cfg)
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return result, errors.Join(err, service.Stop(stop))
}

// show is one performance.
type show struct {
	*platform
	service *app.App
	tallies tallies
	screen  *Screen
	pub     *publisher
	opened  bool
}

func (s *show) play(ctx context.Context, cfg *config.Config) (*Result, error) {
	producer, err := kafka.NewProducer(cfg.Kafka, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if s.pub, err = newPublisher(ctx, s.platform, producer); err != nil {
		return nil, errors.Join(err, producer.Close())
	}
	err = s.publish(ctx)
	if err = errors.Join(err, s.pub.close()); err != nil {
		return nil, err
	}
	s.screen.Say("All is published. Waiting until every target has everything.")
	if err := s.settle(ctx, time.Minute); err != nil {
		return nil, err
	}
	result, err := check(ctx, s.platform, s.pub)
	if err != nil {
		return nil, err
	}
	for name, t := range s.tallies {
		result.Delivered[name] = t.confirmed.Load()
	}
	result.BreakerOpened = s.opened
	adm, err := kafka.NewAdmin(cfg.Kafka, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	result.DeadLetters, err = adm.Records(ctx, cfg.DeadLetters.Topic)
	return result, err
}

// publish writes the events, round by round, and breaks and heals the scheduling
// API on the way.
func (s *show) publish(ctx context.Context) error {
	s.screen.Say("Publishing policies and processes to an embedded Kafka. Each target gets each change.")
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for round := range rounds {
		switch round {
		case breakAt:
			s.scheduler.Answer(func(*http.Request) (int, string) { return http.StatusServiceUnavailable, "" })
			s.screen.Say("The scheduling API breaks: 503 to everything. Watch the other two go on.")
		case healAt:
			s.scheduler.Answer(nil)
			s.screen.Say("The scheduling API is back. Its lane catches up, each policy in order.")
		}
		for n := range policies {
			if err := s.pub.publishPolicy(ctx, n); err != nil {
				return err
			}
			if round == 1 && n < processes {
				if err := s.pub.publishProcess(ctx, n); err != nil {
					return err
				}
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
				s.look(false)
			}
		}
	}
	return nil
}

// settle waits until no target lags.
func (s *show) settle(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("targets still lag after %s", limit))
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.confirmed() {
			s.look(true)
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			s.look(false)
		}
	}
}

// confirmed reports whether each target's connector confirmed what it must get.
func (s *show) confirmed() bool {
	policies, all := int64(s.pub.policies), int64(s.pub.total)
	return s.tallies["schedulingTool"].confirmed.Load() >= policies &&
		s.tallies["legacyDatabase"].confirmed.Load() >= policies &&
		s.tallies["dataWarehouse"].confirmed.Load() >= all
}

// look puts the state of every target on the screen.
func (s *show) look(now bool) {
	snapshot := s.service.Snapshot()
	rows := make([]row, len(snapshot.Targets))
	for i, t := range snapshot.Targets {
		if t.Breaker == "open" {
			s.opened = true
		}
		rows[i] = row{t.Target, s.tallies[t.Target].confirmed.Load(), t.Breaker, t.OldestWaiting}
	}
	s.screen.look(s.pub.total, rows, now)
}
