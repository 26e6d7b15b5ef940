package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/schemas"
)

// events says which events a topic holds. Each key has as many versions; so many keys
// are neighbours and change in turn, until all their versions are written: a client
// that keeps no order gives itself away.
type events struct {
	count, keys, neighbours int
	partitions              int32
}

func (e events) versions() int { return e.count / e.keys }

// at is the n-th event.
func (e events) at(n int) (key string, version int) {
	block, rest := n/(e.neighbours*e.versions()), n%(e.neighbours*e.versions())
	return keyOf(block*e.neighbours + rest%e.neighbours), 1 + rest/e.neighbours
}

var rule = strings.Repeat("report within 24 hours; ", 22)

// body is the document of one event as a target gets it, of about 600 bytes.
func body(id, key string, version int) []byte {
	return fmt.Appendf(nil, `{"eventId":"%s","policyId":"%s","version":%d,"title":"Weekend Inspections","text":"%s"}`, id, key, version, rule)
}

func keyOf(n int) string { return fmt.Sprintf("P-%07d", n) }

// policyEvent is an event as [schemas.PolicyEvent] has it. It is encoded in a few
// microseconds: who writes takes the cores from who is measured.
type policyEvent struct {
	EventID    string    `avro:"eventId"`
	Type       string    `avro:"type"`
	OccurredAt time.Time `avro:"occurredAt"`
	Version    int       `avro:"version"`
	Target     *string   `avro:"target"`
	Payload    policy    `avro:"payload"`
}

type policy struct {
	PolicyID      string       `avro:"policyId"`
	AgencyID      string       `avro:"agencyId"`
	Name          string       `avro:"name"`
	Status        string       `avro:"status"`
	EffectiveFrom *int         `avro:"effectiveFrom"`
	EffectiveTo   *int         `avro:"effectiveTo"`
	Rules         []policyRule `avro:"rules"`
}

type policyRule struct {
	RuleID     string  `avro:"ruleId"`
	No         int     `avro:"no"`
	Text       string  `avro:"text"`
	Recurrence *string `avro:"recurrence"`
}

// publisher writes events to a topic of its own.
type publisher struct {
	client *kgo.Client
	schema *avro.Schema
	id     int // of the schema
	topic  string
	events events
	failed atomic.Pointer[error]
}

func newPublisher(ctx context.Context, kafka, registry string, e events) (*publisher, error) {
	p := &publisher{topic: fmt.Sprintf("bench-%d", time.Now().UnixNano()), events: e}
	var err error
	p.client, err = kgo.NewClient(kgo.SeedBrokers(kafka), kgo.DefaultProduceTopic(p.topic), kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	if _, err := kadm.NewClient(p.client).CreateTopic(ctx, e.partitions, 1, nil, p.topic); err != nil {
		return nil, err
	}
	r, err := decode.NewRegistry(registry, &http.Client{Timeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	schema, err := r.Register(ctx, p.topic+"-value", schemas.PolicyEvent)
	if err != nil {
		return nil, err
	}
	p.id = schema.ID
	p.schema, err = avro.Parse(schemas.PolicyEvent)
	return p, err
}

// write writes the n-th event. Its id begins with the time at which it was made.
func (p *publisher) write(ctx context.Context, n int) error {
	key, version := p.events.at(n)
	now := time.Now()
	value, err := new(sr.ConfluentHeader).AppendEncode(make([]byte, 0, 1<<10), p.id, nil)
	if err == nil {
		value, err = p.schema.AppendEncode(value, &policyEvent{
			EventID: fmt.Sprintf("%d-%d", now.UnixNano(), n), Type: "policyUpdated", OccurredAt: now, Version: version,
			Payload: policy{PolicyID: key, AgencyID: "DOI", Name: "Weekend Inspections", Status: "active", Rules: []policyRule{{RuleID: "R1", No: 1, Text: rule}}},
		})
	}
	if err != nil {
		return err
	}
	p.client.Produce(ctx, &kgo.Record{Key: []byte(key), Value: value}, func(_ *kgo.Record, err error) {
		if err != nil {
			p.failed.Store(&err)
		}
	})
	return nil
}

// flush waits until all that was written is acknowledged.
func (p *publisher) flush(ctx context.Context) error {
	if err := p.client.Flush(ctx); err != nil {
		return err
	}
	if err := p.failed.Load(); err != nil {
		return fmt.Errorf("publish: %w", *err)
	}
	return nil
}

// all writes all events.
func (p *publisher) all(ctx context.Context) error {
	for n := range p.events.count {
		if err := p.write(ctx, n); err != nil {
			return err
		}
	}
	return p.flush(ctx)
}

// flow writes events from the given one on, so many a second, until ctx ends. It
// returns the number of the next. What the machine was too busy for is made up for.
func (p *publisher) flow(ctx context.Context, next int, perSecond float64) (int, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began, from := time.Now(), next
	for {
		select {
		case <-ctx.Done():
			return next, p.flush(context.WithoutCancel(ctx))
		case <-tick.C:
		}
		for due := from + int(time.Since(began).Seconds()*perSecond); next < due; next++ {
			if err := p.write(context.WithoutCancel(ctx), next); err != nil {
				return next, err
			}
		}
	}
}
