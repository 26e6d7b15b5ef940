package demo

import (
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"
)

// Scheduler is a scheduling API that keeps book of what it receives: the external
// system of the demo and of the tests that count. It takes any upsert or delete
// that carries the headers of connector http.
type Scheduler struct {
	// mu guards all below: requests come from many connections.
	mu       sync.Mutex
	answer   func(*http.Request) (status int, retryAfter string)
	seen     map[string]bool  // idempotency keys that were applied
	versions map[string]int64 // newest version that arrived, by key
	report   Arrivals
}

// Arrivals is what a Scheduler has counted.
type Arrivals struct {
	// Applied is the number of distinct deliveries; Repeated, how often one came
	// again after it was applied; OutOfOrder, how often a first arrival had a version
	// below one of its key that had come before.
	Applied, Repeated, OutOfOrder int
	// Refused counts the requests that the scheduler was told to fail.
	Refused int
}

// NewScheduler returns an empty one that accepts everything.
func NewScheduler() *Scheduler {
	return &Scheduler{seen: map[string]bool{}, versions: map[string]int64{}}
}

// Answer has requests answered with the status that f returns, without applying
// them, unless it is 0. Nil accepts everything again.
func (s *Scheduler) Answer(f func(*http.Request) (status int, retryAfter string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// ServeHTTP applies one change.
func (s *Scheduler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // a body cut short shows in the next read
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer != nil {
		if status, after := s.answer(r); status != 0 {
			s.report.Refused++
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			w.WriteHeader(status)
			return
		}
	}
	// A connector's check carries no key, and changes nothing.
	if id := r.Header.Get("Idempotency-Key"); id != "" {
		s.apply(id, r.Header.Get("Policysync-Key"), r.Header.Get("Policysync-Version"))
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Scheduler) apply(id, key, version string) {
	if s.seen[id] {
		s.report.Repeated++
		return
	}
	s.seen[id] = true
	s.report.Applied++
	v, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		return // a delete by event version has none
	}
	if v < s.versions[key] {
		s.report.OutOfOrder++
	}
	s.versions[key] = max(v, s.versions[key])
}

// Arrivals returns the counts so far.
func (s *Scheduler) Arrivals() Arrivals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.report
}

// Versions returns the newest version of each key that arrived.
func (s *Scheduler) Versions() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.versions)
}
