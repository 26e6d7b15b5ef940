//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/schemas"
)

// encoders write the platform's policy events with the topic's own subject.
type encoders struct{ policy *decode.Encoder }

func newEncoders(t *testing.T, topic string) *encoders {
	t.Helper()
	registry, err := decode.NewRegistry(address(t, "REGISTRY"), &http.Client{Timeout: 10 * time.Second})
	require.NoError(t, err)
	schema, err := registry.Register(t.Context(), topic+"-value", schemas.PolicyEvent)
	require.NoError(t, err)
	policy, err := decode.NewEncoder("confluent", schema)
	require.NoError(t, err)
	return &encoders{policy}
}

func key(n int) string { return fmt.Sprintf("P-%05d", n) }

// event is one version of one policy, with two rules in every second version.
func (e *encoders) event(t *testing.T, key string, version int) []byte {
	t.Helper()
	rules := `{"ruleId":"R1","no":1,"text":"report within 24 hours","recurrence":null}`
	if version%2 == 0 {
		rules += `,{"ruleId":"R2","no":2,"text":"two inspectors","recurrence":null}`
	}
	b, err := e.policy.Encode(fmt.Appendf(nil, `{"eventId":"%s-v%d","type":"policyUpdated","occurredAt":%d,"version":%d,"target":null,
		"payload":{"policyId":"%s","agencyId":"DOI","name":"Weekend Inspections v%d","status":"active","effectiveFrom":"2026-12-01","effectiveTo":null,"rules":[%s]}}`,
		key, version, time.Now().UnixMilli(), version, key, version, rules))
	require.NoError(t, err)
	return b
}

// publish writes the versions from first to last of so many policies, version by
// version.
func (w *world) publish(policies, first, last int) {
	w.t.Helper()
	var failed atomic.Pointer[error]
	for version := first; version <= last; version++ {
		for n := range policies {
			r := &kgo.Record{Key: []byte(key(n)), Value: w.enc.event(w.t, key(n), version)}
			w.kafka.Produce(w.t.Context(), r, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(&err)
				}
			})
		}
	}
	require.NoError(w.t, w.kafka.Flush(w.t.Context()))
	require.Nil(w.t, failed.Load())
}

// write writes one record as it is.
func (w *world) write(key string, value []byte) {
	w.t.Helper()
	require.NoError(w.t, w.kafka.ProduceSync(w.t.Context(), &kgo.Record{Key: []byte(key), Value: value}).FirstErr())
}
