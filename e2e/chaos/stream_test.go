//go:build e2e

package chaos

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/schemas"
)

// What a record is, as its header "kind" says: the checker reads it back.
const (
	plain     = "plain"
	refused   = "refused-by-the-targets" // also the policy's name: the HTTP targets answer 422
	tombstone = "tombstone"
	garbage   = "garbage" // no Avro
	unknown   = "unknown" // of a schema that the registry does not have
)

// stream writes policy events of a few dozen keys, so that each key has many, and
// now and then what cannot be delivered.
type stream struct {
	t     *testing.T
	kafka *kgo.Client
	topic string
	keys  int
	rng   *rand.Rand

	registry *decode.Registry
	// mu guards what the runner changes while the stream flows.
	mu       sync.Mutex
	encoder  *decode.Encoder
	versions map[string]int
}

func newStream(t *testing.T, w *world, seed uint64) *stream {
	t.Helper()
	registry, err := decode.NewRegistry(address(t, "REGISTRY"), &http.Client{Timeout: 10 * time.Second})
	require.NoError(t, err)
	s := &stream{
		t: t, kafka: w.kafka, topic: w.topic, keys: 60, rng: rand.New(rand.NewPCG(seed, 2)),
		registry: registry, versions: map[string]int{},
	}
	s.encodeBy(schemas.PolicyEvent)
	return s
}

// encodeBy registers a schema and writes events by it from now on.
func (s *stream) encodeBy(text string) {
	s.t.Helper()
	schema, err := s.registry.Register(s.t.Context(), s.topic+"-value", text)
	require.NoError(s.t, err)
	encoder, err := decode.NewEncoder("confluent", schema)
	require.NoError(s.t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.encoder = encoder
}

// evolve goes over to a schema with one field more, which has a default.
func (s *stream) evolve() {
	s.encodeBy(strings.Replace(schemas.PolicyEvent, `"fields": [`,
		`"fields": [{"name": "correlationId", "type": "string", "default": "", "doc": "What caused the change."},`, 1))
}

// flow writes perSecond records a second until ctx ends, and returns once the
// brokers have them all.
func (s *stream) flow(ctx context.Context, perSecond int) {
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.kafka.Produce(context.Background(), s.next(), func(_ *kgo.Record, err error) {
				if err != nil && ctx.Err() == nil {
					s.t.Errorf("produce: %v", err)
				}
			})
		case <-ctx.Done():
			if err := s.kafka.Flush(context.Background()); err != nil {
				s.t.Errorf("produce: %v", err)
			}
			return
		}
	}
}

// next makes a record: of a hundred, two tombstones, one that the targets refuse,
// and one that nobody can read.
func (s *stream) next() *kgo.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fmt.Sprintf("P-%03d", s.rng.IntN(s.keys))
	s.versions[key]++
	version, kind := s.versions[key], plain
	switch s.rng.IntN(200) {
	case 0, 1, 2, 3:
		kind = tombstone
	case 4, 5:
		kind = refused
	case 6:
		kind = garbage
	case 7:
		kind = unknown
	}
	r := &kgo.Record{Topic: s.topic, Key: []byte(key), Headers: []kgo.RecordHeader{
		{Key: "kind", Value: []byte(kind)}, {Key: "version", Value: fmt.Append(nil, version)},
	}}
	switch kind {
	case tombstone:
	case garbage:
		r.Value = []byte("not Avro at all")
	case unknown:
		r.Value = append(binary.BigEndian.AppendUint32([]byte{0}, 1<<30), 1, 2, 3)
	default:
		var err error
		r.Value, err = s.encoder.Encode(fmt.Appendf(nil, `{"eventId":"%[1]s-v%[2]d","type":"policyUpdated","occurredAt":%[3]d,
			"version":%[2]d,"target":null,"payload":{"policyId":%[1]q,"agencyId":"DOI","name":"%[4]s v%[2]d","status":"active",
			"effectiveFrom":null,"effectiveTo":null,"rules":[]}}`, key, version, time.Now().UnixMilli(), kind))
		if err != nil {
			s.t.Errorf("encode: %v", err)
		}
	}
	return r
}
