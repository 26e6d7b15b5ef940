package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/schemas"
)

const (
	partitions = 8
	// versions is how many events there are of each key, and neighbours how many keys
	// change in turn, so that a client that keeps no order gives itself away.
	versions, neighbours = 10, 20
)

var rule = strings.Repeat("report within 24 hours; ", 22)

// body is the document of one event as a target gets it, of about 600 bytes.
func body(key string, version int) []byte {
	return fmt.Appendf(nil, `{"policyId":"%s","version":%d,"title":"Weekend Inspections","text":"%s"}`, key, version, rule)
}

func keyOf(n int) string { return fmt.Sprintf("P-%06d", n) }

// publish writes the events to a topic of their own.
func publish(ctx context.Context, kafka, registry, topic string, events int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		return err
	}
	r, err := decode.NewRegistry(registry, &http.Client{Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	schema, err := r.Register(ctx, topic+"-value", schemas.PolicyEvent)
	if err != nil {
		return err
	}
	encoder, err := decode.NewEncoder("confluent", schema)
	if err != nil {
		return err
	}
	var failed atomic.Pointer[error]
	fail := func(err error) {
		if err != nil {
			failed.Store(&err)
		}
	}
	for n := range events {
		block, at := n/(neighbours*versions), n%(neighbours*versions)
		key, version := keyOf(block*neighbours+at%neighbours), 1+at/neighbours
		value, err := encoder.Encode(fmt.Appendf(nil, `{"eventId":"%d","type":"policyUpdated","version":%d,"occurredAt":%d,"target":null,
			"payload":{"policyId":"%s","agencyId":"DOI","name":"Weekend Inspections","status":"active","effectiveFrom":null,"effectiveTo":null,
			"rules":[{"ruleId":"R1","no":1,"text":"%s","recurrence":null}]}}`, n, version, time.Now().UnixMilli(), key, rule))
		if err != nil {
			return err
		}
		client.Produce(ctx, &kgo.Record{Key: []byte(key), Value: value}, func(_ *kgo.Record, err error) { fail(err) })
	}
	fail(client.Flush(ctx))
	if e := failed.Load(); e != nil {
		return fmt.Errorf("publish: %w", *e)
	}
	return nil
}
