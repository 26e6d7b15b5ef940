//go:build e2e

package chaos

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// arrival is one request as the target saw it.
type arrival struct {
	position
	member, key  string
	id, title    string // the idempotency key; what the body says the policy is called
	begun, ended time.Time
	status       int  // what was answered; 0: nothing
	applied      bool // the target holds it
	gone         bool // the client went before it was answered
}

// settles reports whether the client may have learnt that the target holds it.
func (a arrival) settles() bool { return a.applied && a.status != 0 }

// target is an external system over HTTP that keeps book of every request.
type target struct {
	url string

	// mu guards all below: requests come from many connections.
	mu       sync.Mutex
	fault    string
	recover  chan struct{} // closed when the fault ends
	arrivals []arrival
}

func newTarget(t *testing.T) *target {
	s := &target{recover: make(chan struct{})}
	server := httptest.NewServer(s)
	t.Cleanup(func() { s.heal(); server.CloseClientConnections(); server.Close() })
	s.url = server.URL
	return s
}

// fail makes requests fail in the given way until heal.
func (s *target) fail(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = kind
}

func (s *target) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = ""
	close(s.recover)
	s.recover = make(chan struct{})
}

func (s *target) book() []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]arrival(nil), s.arrivals...)
}

// ServeHTTP answers one request as the present fault says and writes down when it
// came and what became of it.
func (s *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := arrival{begun: time.Now(), member: r.Header.Get("X-Member"), key: r.Header.Get("Policysync-Key")}
	body, err := io.ReadAll(r.Body)
	if a.id = r.Header.Get("Idempotency-Key"); a.id == "" || err != nil {
		return // a check of the connector, or a request cut short: nothing has arrived
	}
	if a.position, err = parsePosition(a.id); err != nil {
		w.WriteHeader(http.StatusNotImplemented)
		return
	}
	var policy struct{ Title string }
	if len(body) > 0 && json.Unmarshal(body, &policy) == nil {
		a.title = policy.Title
	}
	s.mu.Lock()
	fault, recovered := s.fault, s.recover
	s.mu.Unlock()
	gone := func(until <-chan time.Time) bool {
		select {
		case <-r.Context().Done():
			return true
		case <-recovered:
		case <-until:
		}
		return false
	}
	switch fault {
	case hang:
		a.gone = gone(nil)
	case sluggish:
		a.gone = gone(time.After(100*time.Millisecond + rand.N(600*time.Millisecond)))
	}
	switch {
	case a.gone:
	case strings.HasPrefix(a.title, refused):
		a.status = http.StatusUnprocessableEntity
	case fault == errors500 && rand.IntN(3) == 0:
		a.status = http.StatusInternalServerError
	case fault == unready:
		a.status = http.StatusServiceUnavailable
	case fault == throttle:
		a.status = http.StatusTooManyRequests
		w.Header().Set("Retry-After", strconv.Itoa(1))
	case fault == slam:
		a.applied = true
	default:
		a.status, a.applied = http.StatusNoContent, true
	}
	// Before the answer: what the client does with it comes later.
	a.ended = time.Now()
	s.mu.Lock()
	s.arrivals = append(s.arrivals, a)
	s.mu.Unlock()
	if a.status == 0 {
		panic(http.ErrAbortHandler) // close the connection
	}
	w.WriteHeader(a.status)
}
