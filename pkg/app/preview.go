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

// PreviewEvent maps one line, as Produce reads it, for the named target.
func PreviewEvent(ctx context.Context, cfg *config.Config, registry connector.Registry, target, topic string, text []byte, log *slog.Logger) (*Preview, error) {
	plan, err := NewPlan(ctx, cfg, registry)
	if err != nil {
		return nil, err
	}
	encoder, err := plan.Decoder.Encoder(ctx, topic)
	if err != nil {
		return nil, err
	}
	record, err := encodeLine(text, topic, encoder.Encode)
	if err != nil {
		return nil, err
	}
	// A round trip through Avro, so that the event is what a member would see.
	var value *event.Object
	var schema *event.Schema
	if record.Value != nil {
		if value, schema, err = plan.Decoder.Decode(ctx, record); err != nil {
			return nil, err
		}
	}
	ev, err := plan.Reader.Read(record, value, schema)
	if err != nil {
		return nil, err
	}
	for i := range cfg.Targets {
		if t := &cfg.Targets[i]; t.Name == target {
			verdict := plan.Router.Route(ev).Targets[i]
			if verdict.Err != nil {
				return nil, verdict.Err
			}
			p := &Preview{Target: target, Delivered: verdict.Deliver, Key: ev.Key}
			if ev.HasVersion {
				p.Version = &ev.Version
			}
			if !verdict.Deliver {
				return p, nil
			}
			return p, plan.document(ctx, t, ev, p, log)
		}
	}
	return nil, fmt.Errorf("target %q: %w", target, ErrNoTarget)
}

// document makes what the target's connector would send.
func (p *Plan) document(ctx context.Context, t *config.Target, ev *event.Event, into *Preview, log *slog.Logger) error {
	c, err := p.connector(ctx, t, log)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	preparer, ok := c.(connector.Preparer)
	if !ok {
		return fmt.Errorf("connector %s makes no document", t.Connector)
	}
	d := &connector.Delivery{Target: t.Name, Key: ev.Key, Op: connector.Upsert, Event: ev, Attempt: 1}
	if ev.Tombstone() {
		d.Op = connector.Delete
	}
	if d.Version = (connector.Version{Value: ev.Version, Known: ev.HasVersion}); p.byOffset(t, log) {
		d.Version = connector.Version{Value: ev.Offset, Known: true, ByOffset: true}
	}
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
