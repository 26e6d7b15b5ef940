//go:build !race

package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/mapping"
	"github.com/hms-sme/policysync/schemas"
)

// What a lane counts for a delivery that waits is what it takes, or somewhat more:
// here for policy events of about 600 bytes, each of another key. Its log says how much.
func TestWaitingDeliveriesAreCounted(t *testing.T) {
	const n = 4000
	file := filepath.Join(t.TempDir(), "policy.avsc")
	require.NoError(t, os.WriteFile(file, []byte(schemas.PolicyEvent), 0o600))
	decoder, err := decode.New(decode.Config{Format: "none", File: file}, nil)
	require.NoError(t, err)
	encoder, err := decoder.Encoder(t.Context(), "policies")
	require.NoError(t, err)
	rule := strings.Repeat("report within 24 hours; ", 22)
	records := make([]*event.Record, n)
	for i := range records {
		value, err := encoder.Encode(fmt.Appendf(nil, `{"eventId":"%d","type":"policyUpdated","version":%d,"occurredAt":%d,"target":null,
			"payload":{"policyId":"P-%d","agencyId":"DOI","name":"Weekend Inspections","status":"active","effectiveFrom":null,"effectiveTo":null,
			"rules":[{"ruleId":"R1","no":1,"text":"%s","recurrence":null}]}}`, i, 1000+i, 1_700_000_000_000+i, i, rule))
		require.NoError(t, err)
		records[i] = record(int64(i), fmt.Sprint(i))
		records[i].Value = value
	}
	log := slog.New(slog.DiscardHandler)
	target := NewTarget(TargetConfig{
		Name: "target", Kind: "none", Settings: defaults(), Connector: &recordingConnector{},
		HoldRatio: 0.5, Metrics: testMetrics(t), Logger: log,
	})
	target.paused = true
	e := NewEngine(Config{
		Targets: []*Target{target}, Decoder: decoder, Reader: mapping.NewReader(mapping.EventConfig{}), Router: everywhere(1),
		CommitNow: func() {}, Tracer: testTracer(), Metrics: testMetrics(t), Logger: log,
	})
	p, err := e.Assign(t.Context(), Assignment{Topic: "policies", TopicID: topicID}, &fakeLog{})
	require.NoError(t, err)
	before := heapInUse()
	for _, r := range records {
		require.NoError(t, p.feed(arrival{Record: r}))
	}
	took, counted := (heapInUse()-before)/n, p.lanes[0].bytes/n
	t.Logf("a waiting delivery of a record of %d bytes takes %d bytes, and counts for %d", len(records[0].Value), took, counted)
	require.LessOrEqual(t, took, counted)
	require.Greater(t, took, counted/2)
	p.Abort()
	require.NoError(t, e.Close(context.Background()))
}

// heapInUse is what is left after a collection.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
