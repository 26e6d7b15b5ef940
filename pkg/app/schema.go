package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// CheckSchema tells what a new version of a topic's schema would break, before it is
// registered: the registry's compatibility rule, an expression of the config, the
// versions of a target; with connect also what the targets themselves hold against
// it, such as a column of another type. It changes nothing.
func CheckSchema(ctx context.Context, cfg *config.Config, registry connector.Registry, topic, text string, connect bool, log *slog.Logger) ([]Finding, error) {
	schema, err := event.ParseSchema(text)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	plan, err := NewPlan(ctx, cfg, registry)
	if err != nil {
		return nil, err
	}
	findings := []Finding{found("decoding", plan.Decoder.CheckSchema(topic, schema))}
	if r := plan.Decoder.Registry(); r != nil {
		findings = append(findings, found("registry", compatible(r.Compatible(ctx, topic+"-value", text))))
	}
	if plan.Decoder.Projects(topic) {
		return findings, nil // the config sees the reader's schema, whatever the writer's
	}
	before := make([]bool, len(cfg.Targets))
	for i := range cfg.Targets {
		before[i] = plan.byOffset(&cfg.Targets[i], log)
	}
	plan.Schemas[topic] = []*event.Schema{schema}
	findings = append(findings, found("expressions", cfg.Compile(plan.Schemas)))
	for i := range cfg.Targets {
		t := &cfg.Targets[i]
		if len(t.Topics) > 0 && !slices.Contains(t.Topics, topic) {
			continue
		}
		if after := plan.byOffset(t, log); after && !before[i] {
			findings = append(findings, found("target "+t.Name, errors.New(
				"the schema has no version: after a restart the target would compare offsets in place of versions")))
		}
		if connect {
			findings = append(findings, found("target "+t.Name, plan.checkTarget(ctx, t, log)))
		}
	}
	return findings, nil
}

func compatible(ok bool, reasons []string, err error) error {
	if err != nil || ok {
		return err
	}
	if len(reasons) == 0 {
		reasons = []string{"it does not say why"}
	}
	return fmt.Errorf("the registry would refuse it as the next version: %s", strings.Join(reasons, "; "))
}
