package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/delivery"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/httpclient"
	"github.com/hms-sme/policysync/pkg/mapping"
	"github.com/hms-sme/policysync/pkg/redact"
	"github.com/hms-sme/policysync/pkg/route"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// Plan is a config whose expressions have been compiled against the schemas of its
// topics: everything that can be known before an event comes.
type Plan struct {
	Decoder  *decode.Decoder
	Reader   *mapping.Reader
	Router   *route.Router
	Redactor *redact.Redactor
	// Schemas are those of each topic, as far as the registry knows them.
	Schemas map[string][]*event.Schema

	cfg        *config.Config
	registry   connector.Registry
	connectors []connector.Connector
}

// newDecoder makes the decoder that the config asks for.
func newDecoder(cfg *config.Config) (*decode.Decoder, error) {
	var client *http.Client
	if r := cfg.Schemas.Registry; r != nil {
		c, err := httpclient.New(httpclient.Config{Auth: r.Auth, TLS: r.TLS}, httpclient.Options{Concurrency: 4})
		if err != nil {
			return nil, fmt.Errorf("schemas.registry: %w", err)
		}
		client = c.HTTP()
	}
	return decode.New(cfg.Schemas, client)
}

// NewPlan asks the registry for the schemas and compiles the config against them.
// A mistake in an expression is a [*config.Error] with all of them; a registry that
// cannot be reached, a [*decode.UnavailableError]. The expressions are compiled in
// place: a config serves one plan at a time.
func NewPlan(ctx context.Context, cfg *config.Config, registry connector.Registry) (*Plan, error) {
	decoder, err := newDecoder(cfg)
	if err != nil {
		return nil, err
	}
	p := &Plan{Decoder: decoder, Schemas: map[string][]*event.Schema{}, cfg: cfg, registry: registry}
	for _, topic := range cfg.Kafka.Topics {
		if p.Schemas[topic], err = decoder.Schemas(ctx, topic); err != nil {
			return nil, fmt.Errorf("schemas of topic %s: %w", topic, err)
		}
	}
	if err := cfg.Compile(p.Schemas); err != nil {
		return nil, err
	}
	p.Reader = mapping.NewReader(cfg.Event)
	p.Redactor = redact.New(cfg.Redact)
	targets := make([]route.Target, len(cfg.Targets))
	for i, t := range cfg.Targets {
		targets[i] = route.Target{Name: t.Name, Topics: t.Topics, When: t.When}
	}
	p.Router = route.New(targets, cfg.Route.Unknown == "ignore")
	return p, nil
}

// Unknown are the topics without a schema yet: their expressions are checked when
// the first one comes.
func (p *Plan) Unknown() []string {
	var topics []string
	for _, topic := range p.cfg.Kafka.Topics {
		if len(p.Schemas[topic]) == 0 {
			topics = append(topics, topic)
		}
	}
	return topics
}

func (p *Plan) names() []string {
	names := make([]string, len(p.cfg.Targets))
	for i, t := range p.cfg.Targets {
		names[i] = t.Name
	}
	return names
}

// connector makes the connector of a target.
func (p *Plan) connector(ctx context.Context, t *config.Target, log *slog.Logger) (connector.Connector, error) {
	c, err := p.registry[t.Connector].New(ctx, t.Spec, connector.Env{
		Target: t.Name, Logger: log.With("target", t.Name), Timeout: t.Timeout,
		Concurrency: t.Concurrency, BatchSize: t.Batch.Size,
	})
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", t.Name, err)
	}
	return c, nil
}

// targets makes the engine's targets, each with its connector, or none.
func (p *Plan) targets(ctx context.Context, letters delivery.Letters, m *telemetry.Metrics, log *slog.Logger) ([]*delivery.Target, error) {
	var targets []*delivery.Target
	for i := range p.cfg.Targets {
		t := &p.cfg.Targets[i]
		c, err := p.connector(ctx, t, log)
		if err != nil {
			for _, made := range targets {
				err = errors.Join(err, made.Close(ctx))
			}
			return nil, err
		}
		p.connectors = append(p.connectors, c)
		targets = append(targets, delivery.NewTarget(delivery.TargetConfig{
			Name: t.Name, Kind: t.Connector, Settings: t.Settings, VersionByOffset: p.byOffset(t, log),
			Connector: c, HoldRatio: p.cfg.DeadLetters.HoldRatio, Letters: letters, Redact: p.Redactor, Metrics: m, Logger: log,
		}))
	}
	return targets, nil
}

// event decodes a record and reads from it what the config asks for.
func (p *Plan) event(ctx context.Context, record *event.Record) (*event.Event, error) {
	var value *event.Object
	var schema *event.Schema
	if record.Value != nil {
		var err error
		if value, schema, err = p.Decoder.Decode(ctx, record); err != nil {
			return nil, err
		}
	}
	return p.Reader.Read(record, value, schema)
}

// delivery is what a member would make of an event for the target, but for its id.
func (*Plan) delivery(t *config.Target, ev *event.Event, byOffset bool) *connector.Delivery {
	d := &connector.Delivery{Target: t.Name, Key: ev.Key, Op: connector.Upsert, Event: ev, Attempt: 1}
	if ev.Tombstone() {
		d.Op = connector.Delete
	}
	if d.Version = (connector.Version{Value: ev.Version, Known: ev.HasVersion}); byOffset {
		d.Version = connector.Version{Value: ev.Offset, Known: true, ByOffset: true}
	}
	return d
}

// byOffset decides once, for the target and not per record, where its versions
// come from: the source offset if it is asked for, or if a schema that the target
// meets has no version.
func (p *Plan) byOffset(t *config.Target, log *slog.Logger) bool {
	if t.Version == "offset" {
		return true
	}
	topics := []string(t.Topics)
	if topics == nil {
		topics = p.cfg.Kafka.Topics
	}
	for _, topic := range topics {
		for _, s := range p.Schemas[topic] {
			if !p.Reader.Versioned(topic, s) {
				log.Warn("a schema has no version: source offsets are the target's versions",
					"target", t.Name, "topic", topic, "schema_id", s.ID)
				return true
			}
		}
	}
	return false
}

// compile makes the plan, and waits for the registry for as long as ctx allows.
func (a *App) compile(ctx context.Context) (p *Plan, err error) {
	err = a.persist(ctx, "schema registry", func(ctx context.Context) error {
		p, err = NewPlan(ctx, a.cfg, a.o.Registry)
		return err
	})
	if err == nil && len(p.Unknown()) > 0 {
		a.o.Logger.WarnContext(ctx, "topics have no schema yet: expressions are checked when the first one comes",
			"topics", strings.Join(p.Unknown(), ", "))
	}
	return p, err
}
