package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/hms-sme/policysync/connectors"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/schemas"
)

// patience bounds every wait on a busy machine.
const patience = 30 * time.Second

var discard = slog.New(slog.DiscardHandler)

// platform is what surrounds the service: a broker, a registry, an HTTP API and a
// folder for a file.
type platform struct {
	t        *testing.T
	broker   *kfake.Cluster
	registry *srfake.Registry
	api      *api
	dir      string
}

func newPlatform(t *testing.T) *platform {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "policies"))
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	p := &platform{t: t, broker: broker, registry: srfake.New(), api: newAPI(t), dir: t.TempDir()}
	t.Cleanup(p.registry.Close)
	_, _, err = p.registry.RegisterSchema("policies-value", sr.Schema{Schema: schemas.PolicyEvent})
	require.NoError(t, err)
	return p
}

const targets = `
targets:
  ledger:
    connector: file
    path: @dir/ledger.jsonl
    map: {id: event.payload.policyId, rules: "event.payload.rules.map(r, r.text)"}
  caseApi:
    connector: http
    when: event.type != "policyArchived"
    url: "@api/rules/{key}"
    delete: {url: "@api/rules/{key}"}
`

// config is one for this platform; text replaces the targets unless it is empty.
func (p *platform) config(text string) *config.Config {
	p.t.Helper()
	if text == "" {
		text = targets
	}
	text = `
kafka: {brokers: ["@broker"], group: sync, topics: [policies]}
schemas: {registry: {url: "@registry"}}
health: {listen: "127.0.0.1:0"}
checkpoint: {interval: 20ms}
` + text
	text = strings.NewReplacer("@broker", p.broker.ListenAddrs()[0], "@registry", p.registry.URL(),
		"@api", p.api.URL, "@dir", p.dir).Replace(text)
	cfg, err := config.LoadBytes("policysync.yaml", []byte(text), connectors.Builtin())
	require.NoError(p.t, err)
	return cfg
}

// service is an app that has not started and is stopped at the end of the test.
func (p *platform) service(cfg *config.Config) *App {
	p.t.Helper()
	var log lockedBuffer
	a := New(cfg, Options{Version: "test", Registry: connectors.Builtin(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	p.t.Cleanup(func() {
		require.NoError(p.t, a.Stop(context.Background()))
		if p.t.Failed() {
			p.t.Log(log.String())
		}
	})
	return a
}

// running is a started app, with the topics that it needs.
func (p *platform) running(cfg *config.Config) *App {
	p.t.Helper()
	_, err := CreateTopics(p.t.Context(), cfg, discard)
	require.NoError(p.t, err)
	a := p.service(cfg)
	require.NoError(p.t, a.Start(p.t.Context()))
	return a
}

// produce writes events, as policysync produce does.
func (p *platform) produce(cfg *config.Config, lines ...string) []Written {
	p.t.Helper()
	written, err := Produce(p.t.Context(), cfg, "policies", strings.NewReader(strings.Join(lines, "\n")), "test", discard)
	require.NoError(p.t, err)
	require.Len(p.t, written, len(lines))
	return written
}

// policy is a line for one version of a policy.
func policy(id string, version int, change string) string {
	return fmt.Sprintf(`{"key": %q, "value": {"eventId": "%s-v%d", "type": %q, "occurredAt": "2026-11-01T09:00:00Z", "version": %d,
		"payload": {"policyId": %q, "agencyId": "DOI", "name": "Weekend Inspections", "status": "active",
		"rules": [{"ruleId": "R1", "no": 1, "text": "report"}]}}}`, id, id, version, change, version, id)
}

// oneLine makes a line of a line that is broken for the reader of the test.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// ledger is what the file target holds: one text per delivery.
func (p *platform) ledger() []string {
	text, err := os.ReadFile(filepath.Join(p.dir, "ledger.jsonl"))
	if err != nil {
		return nil
	}
	var found []string
	for line := range bytes.Lines(text) {
		var l struct {
			Op, Key  string
			Version  int
			Document json.RawMessage
		}
		require.NoError(p.t, json.Unmarshal(line, &l))
		found = append(found, fmt.Sprintf("%s %s v%d %s", l.Op, l.Key, l.Version, l.Document))
	}
	return found
}

// lag is that of all targets, as the commits tell.
func (p *platform) lag(cfg *config.Config) int64 {
	p.t.Helper()
	status, err := ReadStatus(p.t.Context(), cfg, discard)
	require.NoError(p.t, err)
	var lag int64
	for _, t := range status.Targets {
		lag += t.Lag
	}
	return lag
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, 10*time.Millisecond, what)
}

// api is a server that keeps what it receives.
type api struct {
	*httptest.Server
	mu    sync.Mutex
	calls []string
}

func newAPI(t *testing.T) *api {
	t.Helper()
	a := &api{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return // a check, which changes nothing
		}
		body, _ := io.ReadAll(r.Body)
		var sent struct{ Version int }
		if len(body) > 0 && json.Unmarshal(body, &sent) != nil {
			sent.Version = -1
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.calls = append(a.calls, fmt.Sprintf("%s %s v%d", r.Method, r.URL.Path, sent.Version))
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) received() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.calls...)
}

// lockedBuffer is a log that a test reads while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
