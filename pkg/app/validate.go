package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// Finding is what one part answered to Connect.
type Finding struct {
	Part string `json:"part"`
	// Err is why the part is not fit, nil if it is.
	Err error `json:"-"`
	// Message is Err's text.
	Message string `json:"error,omitempty"`
}

// connectTimeout bounds the check of one part.
const connectTimeout = 10 * time.Second

// Connect asks each part that the config names whether it can be reached, lets us
// in and fits: Kafka and the topics, the registry, each target. It changes nothing.
func Connect(ctx context.Context, cfg *config.Config, registry connector.Registry, log *slog.Logger) []Finding {
	var all []Finding
	check := func(part string, f func(context.Context) error) {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		all = append(all, found(part, f(ctx)))
	}
	check("kafka", func(ctx context.Context) error { return checkKafka(ctx, cfg, log) })
	plan, err := NewPlan(ctx, cfg, registry)
	check("schemas", func(context.Context) error { return err })
	if err != nil {
		return all // what a target needs is not known without the schemas
	}
	for i := range cfg.Targets {
		t := &cfg.Targets[i]
		check("target "+t.Name, func(ctx context.Context) error {
			return plan.checkTarget(ctx, t, log)
		})
	}
	return all
}

func found(part string, err error) Finding {
	f := Finding{Part: part, Err: err}
	if err != nil {
		f.Message = err.Error()
	}
	return f
}

// checkTarget has a target's connector check it, if it can.
func (p *Plan) checkTarget(ctx context.Context, t *config.Target, log *slog.Logger) error {
	c, err := p.connector(ctx, t, log)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	return checkConnector(ctx, c)
}

func checkKafka(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return err
	}
	defer adm.Close()
	if err := adm.Ping(ctx); err != nil {
		return err
	}
	denied, err := adm.Denied(ctx, memberPermissions(cfg))
	if err != nil {
		return err
	}
	if len(denied) > 0 {
		return fmt.Errorf("not allowed, as ACLs have it: %s", strings.Join(texts(denied), ", "))
	}
	missing, err := adm.Missing(ctx, neededTopics(cfg)...)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("topics do not exist: %s", strings.Join(missing, ", "))
	}
	timing, timingErr := adm.Timing(ctx)
	if timingErr == nil {
		timingErr = cfg.CheckTiming(timing)
	}
	return errors.Join(err, timingErr)
}

func texts(ps []kafka.Permission) (all []string) {
	for _, p := range ps {
		all = append(all, p.String())
	}
	return all
}
