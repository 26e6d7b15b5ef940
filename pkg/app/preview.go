package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// Preview tells what one event would make a target do. It sends nothing.
type Preview struct {
	Target string `json:"target"`
	// Delivered is false if routing keeps the event from the target.
	Delivered bool   `json:"delivered"`
	Key       string `json:"key,omitempty"`
	Version   *int64 `json:"version,omitempty"`
	// Document is what would be sent.
	Document json.RawMessage `json:"document,omitempty"`
}

// ErrNoTarget reports a name that no target of the config has.
var ErrNoTarget = errors.New("the config has no such target")

// Previewer maps events as a member would, for targets that it makes and never calls.
type Previewer struct {
	plan *Plan
	log  *slog.Logger
}

// NewPreviewer compiles the config against the schemas of its topics.
func NewPreviewer(ctx context.Context, cfg *config.Config, registry connector.Registry, log *slog.Logger) (*Previewer, error) {
	plan, err := NewPlan(ctx, cfg, registry)
	if err != nil {
		return nil, err
	}
	return &Previewer{plan: plan, log: log}, nil
}

// Line makes a record of one line, as Produce reads it. An empty topic stands for
// the config's first one.
func (p *Previewer) Line(ctx context.Context, topic string, text []byte) (*event.Record, error) {
	if topic == "" {
		topic = p.plan.cfg.Kafka.Topics[0]
	}
	encoder, err := p.plan.Decoder.Encoder(ctx, topic)
	if err != nil {
		return nil, err
	}
	return encodeLine(text, topic, encoder.Encode)
}

// Stored reads a record that is in Kafka.
func (p *Previewer) Stored(ctx context.Context, topic string, partition int32, offset int64) (*event.Record, error) {
	return kafka.ReadRecord(ctx, p.plan.cfg.Kafka, topic, partition, offset, p.log)
}

// Event decodes a record and reads from it what the config asks for.
func (p *Previewer) Event(ctx context.Context, record *event.Record) (*event.Event, error) {
	return p.plan.event(ctx, record)
}

// Preview maps a record for the named target.
func (p *Previewer) Preview(ctx context.Context, target string, record *event.Record) (*Preview, error) {
	ev, err := p.plan.event(ctx, record)
	if err != nil {
		return nil, err
	}
	i, err := FindTarget(p.plan.cfg, target)
	if err != nil {
		return nil, err
	}
	verdict := p.plan.Router.Route(ev).Targets[i]
	if verdict.Err != nil {
		return nil, verdict.Err
	}
	out := &Preview{Target: target, Delivered: verdict.Deliver, Key: ev.Key}
	if ev.HasVersion {
		out.Version = &ev.Version
	}
	if !verdict.Deliver {
		return out, nil
	}
	return out, p.document(ctx, &p.plan.cfg.Targets[i], ev, out)
}

// document makes what the target's connector would send.
func (p *Previewer) document(ctx context.Context, t *config.Target, ev *event.Event, into *Preview) error {
	c, err := p.plan.connector(ctx, t, p.log)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	preparer, ok := c.(connector.Preparer)
	if !ok {
		return fmt.Errorf("connector %s makes no document", t.Connector)
	}
	d := p.plan.delivery(t, ev, p.plan.byOffset(t, p.log))
	if err := preparer.Prepare(d); err != nil {
		return fmt.Errorf("map: %w", err)
	}
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false) // as it would be sent
	if err := out.Encode(d.Document); err != nil {
		return fmt.Errorf("print document: %w", err)
	}
	into.Document = text.Bytes()
	return nil
}
