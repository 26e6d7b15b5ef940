//go:build e2e

package k8s

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	keys = 400
	// pace is the time between two events.
	pace = 8 * time.Millisecond
)

// policy is one version of one policy as JSON.
func policy(key string, version int) string {
	return fmt.Sprintf(`{"eventId":"%s-v%d","type":"policyUpdated","occurredAt":%d,"version":%d,"target":null,`+
		`"payload":{"policyId":"%s","agencyId":"DOI","name":"Weekend Inspections","status":"active","effectiveFrom":"2026-12-01","effectiveTo":null,"rules":[]}}`,
		key, version, time.Now().UnixMilli(), version, key)
}

// change is one version of one policy.
type change struct {
	key     string
	version int64
}

// stream publishes versions of policies, one after another, while it is on.
type stream struct {
	w *world

	mu   sync.Mutex
	sent map[change]time.Time // when it was acknowledged
	next int
	err  error
}

// publish publishes until ctx ends, and returns when all is acknowledged.
func (s *stream) publish(ctx context.Context) {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			s.fail(s.w.kafka.Flush(context.WithoutCancel(ctx)))
			return
		case <-ticker.C:
		}
		c := change{fmt.Sprintf("P-%03d", s.next%keys), int64(s.next/keys) + 1}
		s.next++
		value, err := s.w.encoder.Encode([]byte(policy(c.key, int(c.version))))
		s.fail(err)
		s.w.kafka.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: topic, Key: []byte(c.key), Value: value}, func(_ *kgo.Record, err error) {
			s.fail(err)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.sent[c].IsZero() {
				s.sent[c] = time.Now()
			}
		})
	}
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

func (s *stream) snapshot() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent), s.err
}

// since is how long ago a change was published; 0 if it was not, or just now.
func (s *stream) since(c change) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.sent[c]; !at.IsZero() {
		return time.Since(at)
	}
	return 0
}

// counts are what one target has seen.
type counts struct {
	arrived    int // distinct changes of the stream
	repeated   int // that came again
	disordered int // that came for the first time after a newer one of their key
}

func (c counts) less(o counts) counts {
	return counts{c.arrived - o.arrived, c.repeated - o.repeated, c.disordered - o.disordered}
}

// sink is one target.
type sink struct {
	stream *stream

	mu     sync.Mutex
	delay  time.Duration
	seen   map[change]bool
	newest map[string]int64
	counts counts
	waits  []time.Duration // from the broker's word until here, of first arrivals
	tested int             // pushes of helm test
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	version, err := strconv.ParseInt(r.Header.Get("Policysync-Version"), 10, 64)
	if err == nil {
		<-time.After(s.take(change{r.Header.Get("Policysync-Key"), version}))
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *sink) take(c change) time.Duration {
	wait := s.stream.since(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.key == "TEST-1":
		s.tested++
	case s.seen[c]:
		s.counts.repeated++
	default:
		s.seen[c] = true
		s.counts.arrived++
		s.waits = append(s.waits, wait)
		if c.version < s.newest[c.key] {
			s.counts.disordered++
		}
		s.newest[c.key] = max(s.newest[c.key], c.version)
	}
	return s.delay
}

func (s *sink) answerAfter(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

func (s *sink) snapshot() (counts, []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts, slices.Clone(s.waits)
}

func (s *sink) tests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tested
}
