package http

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	nethttp "net/http"
	"net/http/httptest"
	"slices"
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
	status  int   // answered to everything, unless 0
	sizes   []int // of the batches
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
	if strings.HasPrefix(r.URL.Path, "/bulk/") && a.status == 0 && r.Method == nethttp.MethodPost {
		a.bulk(w, strings.TrimPrefix(r.URL.Path, "/bulk/"), body)
		return
	}
	if held, known := a.rules[strings.TrimPrefix(r.URL.Path, "/rules/")]; known && a.status == 0 && r.Method == nethttp.MethodGet {
		_ = json.NewEncoder(w).Encode(map[string]any{"rule": map[string]any{"title": held.Title, "version": held.Version, "mine": true}, "version": held.Version})
		return
	}
	var rule rule
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

type rule struct {
	ID      string
	Title   string
	Version int64
}

// bulk applies the items of a batch, and answers for each; or all or none of them.
func (a *api) bulk(w nethttp.ResponseWriter, form string, body []byte) {
	var rules []rule
	a.sizes = append(a.sizes, bytes.Count(body, []byte(`"title"`)))
	switch form {
	case "lines":
		for line := range strings.Lines(string(body)) {
			var r rule
			_ = json.Unmarshal([]byte(line), &r)
			rules = append(rules, r)
		}
	case "object":
		var object struct{ Items []rule }
		_ = json.Unmarshal(body, &object)
		rules = object.Items
	default:
		_ = json.Unmarshal(body, &rules)
	}
	bad := func(r rule) bool { return r.Title == connectortest.BadTitle }
	if form == "whole" && slices.ContainsFunc(rules, bad) {
		w.WriteHeader(nethttp.StatusUnprocessableEntity)
		return
	}
	var results []map[string]any
	for _, r := range rules {
		status := a.apply(nethttp.MethodPost, "/any", r.ID, connectortest.Record{Title: r.Title, Version: r.Version})
		results = append(results, map[string]any{"status": status, "id": "rule-" + r.ID})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"items": results})
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
	case (method == nethttp.MethodGet || method == nethttp.MethodPut || method == nethttp.MethodDelete) && !known:
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
