package http

import (
	"encoding/json"
	"io"
	"maps"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
)

// api is an HTTP API that keeps rules under /rules/ID: POST to /rules creates, PUT
// updates what is there, DELETE removes; POST to /any stores whatever comes. Each
// failure echoes the credentials, as some servers do.
type api struct {
	*httptest.Server
	// mu guards what follows, which requests share with the test.
	mu      sync.Mutex
	rules   map[string]connectortest.Record
	status  int // answered to everything, unless 0
	stalled chan struct{}
}

func newAPI(t *testing.T) *api {
	a := &api{rules: map[string]connectortest.Record{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *api) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stalled != nil {
		a.stalled <- struct{}{}
		<-r.Context().Done()
		return
	}
	var rule struct {
		ID      string
		Title   string
		Version int64
	}
	_ = json.Unmarshal(body, &rule)
	status := a.status
	if status == 0 {
		if rule.ID == "" {
			rule.ID = strings.TrimPrefix(r.URL.Path, "/rules/")
		}
		status = a.apply(r.Method, r.URL.Path, rule.ID, connectortest.Record{Title: rule.Title, Version: rule.Version})
	}
	w.WriteHeader(status)
	if status >= 300 {
		_, _ = io.WriteString(w, "refused: "+r.Header.Get("Authorization"))
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"id": "rule-" + rule.ID})
}

func (a *api) apply(method, path, id string, rule connectortest.Record) int {
	_, known := a.rules[id]
	switch {
	case method == nethttp.MethodHead:
		return nethttp.StatusMethodNotAllowed
	case rule.Title == connectortest.BadTitle:
		return nethttp.StatusUnprocessableEntity
	case method == nethttp.MethodPost && path == "/rules" && known:
		return nethttp.StatusConflict
	case (method == nethttp.MethodPut || method == nethttp.MethodDelete) && !known:
		return nethttp.StatusNotFound
	case method == nethttp.MethodDelete:
		delete(a.rules, id)
	default:
		a.rules[id] = rule
	}
	return nethttp.StatusOK
}

func (a *api) set(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status = status
}

// system presents the API to the conformance suite.
func (a *api) system(c connector.Connector) connectortest.System {
	fail := func(status int) func(*testing.T) func() {
		return func(*testing.T) func() {
			a.set(status)
			return func() { a.set(0) }
		}
	}
	return connectortest.System{
		Connector: c,
		Applied: func(*testing.T) map[string]connectortest.Record {
			a.mu.Lock()
			defer a.mu.Unlock()
			return maps.Clone(a.rules)
		},
		Fail: map[connector.Class]func(*testing.T) func(){
			connector.Transient: fail(500), connector.Unavailable: fail(503),
			connector.Throttled: fail(429), connector.Permanent: fail(400),
		},
		Stall: func(*testing.T) <-chan struct{} {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.stalled = make(chan struct{}, 1)
			return a.stalled
		},
	}
}
