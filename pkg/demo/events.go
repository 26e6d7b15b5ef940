package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/schemas"
)

var titles = []string{
	"Weekend Inspections", "Night Permits", "Food Safety", "Street Parking", "Noise Limits",
	"Building Access", "Waste Collection", "Market Stalls", "Public Events", "Fire Drills",
}

// publisher writes the platform's events, and knows what it wrote.
type publisher struct {
	producer  *kafka.Producer
	policy    *decode.Encoder
	processes [2]*decode.Encoder // in the two spellings
	failed    atomic.Pointer[error]
	versions  map[string]int64 // newest version, by policy key
	policies  int
	total     int
}

func newPublisher(ctx context.Context, p *platform, producer *kafka.Producer) (*publisher, error) {
	registry, err := decode.NewRegistry(p.registry.URL(), &http.Client{Timeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	pub := &publisher{producer: producer, versions: map[string]int64{}}
	for _, e := range []struct {
		to      **decode.Encoder
		subject string
		schema  string
	}{
		{&pub.policy, policyTopic, schemas.PolicyEvent},
		{&pub.processes[0], processTopic, schemas.ProcessEvent},
		{&pub.processes[1], processTopic, schemas.ProcessEventSystemData},
	} {
		schema, err := registry.Register(ctx, e.subject+"-value", e.schema)
		if err != nil {
			return nil, err
		}
		if *e.to, err = decode.NewEncoder("confluent", schema); err != nil {
			return nil, err
		}
	}
	return pub, nil
}

// publishPolicy writes the next version of the n-th policy.
func (p *publisher) publishPolicy(ctx context.Context, n int) error {
	key := fmt.Sprintf("P-%04d", n)
	p.versions[key]++
	p.policies++
	version := p.versions[key]
	change := "policyUpdated"
	if version == 1 {
		change = "policyCreated"
	}
	rules := []any{rule(key, 1, "report within 24 hours")}
	if version%2 == 0 {
		rules = append(rules, rule(key, 2, "two inspectors at a time"))
	}
	return p.publish(ctx, policyTopic, key, p.policy, map[string]any{
		"eventId": fmt.Sprintf("%s-v%d", key, version), "type": change, "version": version,
		"occurredAt": now(), "target": nil,
		"payload": map[string]any{
			"policyId": key, "agencyId": "DOI", "name": titles[n%len(titles)], "status": "active",
			"effectiveFrom": "2026-12-01", "effectiveTo": nil, "rules": rules,
		},
	})
}

func rule(key string, no int, text string) map[string]any {
	return map[string]any{"ruleId": fmt.Sprintf("%s-R%d", key, no), "no": no, "text": text, "recurrence": nil}
}

// publishProcess writes a process, every second one in the spelling that says
// system for target and data for payload.
func (p *publisher) publishProcess(ctx context.Context, n int) error {
	key := fmt.Sprintf("PR-%03d", n)
	target, payload := "target", "payload"
	if n%2 == 1 {
		target, payload = "system", "data"
	}
	return p.publish(ctx, processTopic, key, p.processes[n%2], map[string]any{
		"eventId": key + "-v1", "type": "processUpdated", "version": 1,
		"occurredAt": now(), target: "dataWarehouse",
		payload: map[string]any{
			"processId": key, "agencyId": "DOI", "name": "Inspect " + titles[n%len(titles)], "status": "active",
			"steps": []any{map[string]any{"stepId": key + "-S1", "no": 1, "name": "visit", "role": "inspector"}},
		},
	})
}

func (p *publisher) publish(ctx context.Context, topic, key string, e *decode.Encoder, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("publish %s: %w", key, err)
	}
	bytes, err := e.Encode(text)
	if err != nil {
		return fmt.Errorf("publish %s: %w", key, err)
	}
	p.total++
	p.producer.Send(ctx, &event.Record{Position: event.Position{Topic: topic}, Key: []byte(key), Value: bytes},
		func(_ event.Position, err error) {
			if err != nil {
				err = fmt.Errorf("publish %s: %w", key, err)
				p.failed.CompareAndSwap(nil, &err)
			}
		})
	return p.err()
}

// now is the time as the schema holds it, in milliseconds.
func now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00") }

func (p *publisher) err() error {
	if e := p.failed.Load(); e != nil {
		return *e
	}
	return nil
}

// close waits for the acknowledgements.
func (p *publisher) close() error { return errors.Join(p.producer.Close(), p.err()) }
