// Package console is the web console: what it shows, the admin API by which it is asked,
// and the page. It reads topics and metadata, so one console shows all members, and it
// needs none that runs; what an operator changes, it writes as commands to the control
// topic, or as resolutions of dead letters, with the name of the one who did.
//
// Who may look and who may change is package admin's to decide. What the records mean,
// and how they are read, is package app's. docs/console.md describes the pages and the
// API for operators.
package console

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hms-sme/policysync/pkg/admin"
	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// Options are what the config does not say.
type Options struct {
	Version  string
	Registry connector.Registry
	Logger   *slog.Logger
}

// Console is the admin API and the page, at one address.
type Console struct {
	cfg    *config.Config
	o      Options
	adm    *kafka.Admin
	model  *model
	server *admin.Server
	// reading ends the model's loop.
	reading sync.WaitGroup
	stop    context.CancelFunc

	// mu guards previewer, which is made when the registry is first reached.
	mu        sync.Mutex
	previewer *app.Previewer
}

// Start serves the console until Stop. The config must be its own: no other part may
// compile its expressions. Kafka and the registry need not be there yet. It fails if the
// address can't be listened on, or a token is none.
func Start(ctx context.Context, cfg *config.Config, o Options) (*Console, error) {
	access, err := admin.NewAccess(cfg.Admin, o.Logger)
	if err != nil {
		return nil, err
	}
	adm, err := kafka.NewAdmin(cfg.Kafka, o.Logger)
	if err != nil {
		return nil, err
	}
	c := &Console{cfg: cfg, o: o, adm: adm, model: newModel(cfg, adm, o.Logger)}
	c.server = admin.NewServer("the console", cfg.Admin.Listen, cfg.Admin.TLS, access.Guard(c.routes()), o.Logger)
	if err := c.server.Start(ctx); err != nil {
		adm.Close()
		return nil, err
	}
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.reading.Go(func() { c.model.run(ctx, pollEvery) })
	o.Logger.InfoContext(ctx, "console is served", "address", c.server.Addr())
	return c, nil
}

// Addr is the address that it listens on.
func (c *Console) Addr() string { return c.server.Addr() }

// Stop ends what is under way by the time that ctx ends.
func (c *Console) Stop(ctx context.Context) error {
	err := c.server.Stop(ctx)
	c.stop()
	c.reading.Wait()
	c.adm.Close()
	return err
}

// preview returns the previewer, which needs the registry.
func (c *Console) preview(ctx context.Context) (*app.Previewer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.previewer != nil {
		return c.previewer, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	p, err := app.NewPreviewer(ctx, c.cfg, c.o.Registry, c.o.Logger)
	if err != nil {
		if _, mistaken := errors.AsType[*config.Error](err); mistaken {
			return nil, errors.New("the config's expressions do not fit the schemas: `policysync validate` says where")
		}
		return nil, err
	}
	c.previewer = p
	return p, nil
}
