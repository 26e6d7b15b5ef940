package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/connectors"
	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait on a busy machine.
const patience = 60 * time.Second

const (
	boss  = "token-of-the-boss-0123456789"
	guest = "token-of-the-guest-012345678"
)

var discard = slog.New(slog.DiscardHandler)

// rig is a console before a group with one member, and the operator who asks it.
type rig struct {
	t       *testing.T
	cfg     *config.Config
	console *Console
	// refusing has the case API refuse policy P-2 for good.
	refusing atomic.Bool
	client   *http.Client
}

const rigConfig = `
kafka: {brokers: ["@broker"], group: sync, topics: [policies]}
schemas: {registry: {url: "@registry"}}
health: {listen: "127.0.0.1:0"}
admin:
  listen: 127.0.0.1:0
  tokens:
    boss: {role: operator, token: token-of-the-boss-0123456789}
    guest: {token: token-of-the-guest-012345678}
telemetry: {trace_url: "https://traces.example/{trace}"}
checkpoint: {interval: 20ms}
targets:
  ledger: {connector: file, path: "@dir/ledger.jsonl"}
  caseApi:
    connector: http
    url: "@api/rules/{key}"
    delete: ignore
    auth: {bearer: s3cret-of-the-case-api}
    map: {title: event.payload.name}
`

func newRig(t *testing.T) *rig {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "policies"))
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	registry := srfake.New()
	t.Cleanup(registry.Close)
	_, _, err = registry.RegisterSchema("policies-value", sr.Schema{Schema: schemas.PolicyEvent})
	require.NoError(t, err)
	r := &rig{t: t, client: &http.Client{Transport: &http.Transport{}}}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.refusing.Load() && strings.HasSuffix(req.URL.Path, "P-2") {
			http.Error(w, "the agency is closed", http.StatusUnprocessableEntity)
		}
	}))
	t.Cleanup(api.Close)
	text := strings.NewReplacer("@broker", broker.ListenAddrs()[0], "@registry", registry.URL(), "@api", api.URL, "@dir", t.TempDir()).Replace(rigConfig)
	load := func() *config.Config {
		cfg, err := config.LoadBytes("policysync.yaml", []byte(text), connectors.Builtin())
		require.NoError(t, err)
		return cfg
	}
	r.cfg = load()
	_, err = app.CreateTopics(t.Context(), r.cfg, discard)
	require.NoError(t, err)
	member := app.New(load(), app.Options{Version: "test", Registry: connectors.Builtin(), Logger: discard})
	t.Cleanup(func() { require.NoError(t, member.Stop(context.Background())) })
	require.NoError(t, member.Start(t.Context()))
	r.console, err = Start(t.Context(), load(), Options{Version: "test", Registry: connectors.Builtin(), Logger: discard})
	require.NoError(t, err)
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		require.NoError(t, r.console.Stop(context.Background()))
	})
	return r
}

func (r *rig) publish(key string, version int) {
	r.t.Helper()
	line := fmt.Sprintf(`{"key": %q, "value": {"eventId": "%s-v%d", "type": "policyUpdated", "occurredAt": "2026-11-01T09:00:00Z", "version": %d, `+
		`"payload": {"policyId": %q, "agencyId": "DOI", "name": "Weekend Inspections", "status": "active", "rules": []}}}`, key, key, version, version, key)
	_, err := app.Produce(r.t.Context(), r.cfg, "policies", strings.NewReader(line), "test", discard)
	require.NoError(r.t, err)
}

// ask calls the API with a token, and decodes the answer.
func (r *rig) ask(token, method, path, body string, into any) int {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.console.Addr()+path, strings.NewReader(body))
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	if into != nil {
		require.Equal(r.t, http.StatusOK, resp.StatusCode, "%s %s: %s", method, path, text)
		require.NoError(r.t, json.Unmarshal(text, into))
	}
	return resp.StatusCode
}

func (r *rig) get(path string, into any) { r.t.Helper(); r.ask(boss, http.MethodGet, path, "", into) }

func (r *rig) do(path, body string) {
	r.t.Helper()
	r.ask(boss, http.MethodPost, path, body, new(json.RawMessage))
}

// target waits until the status of a target is as wanted.
func (r *rig) target(name, what string, is func(*Target) bool) {
	r.t.Helper()
	var s Snapshot
	require.Eventually(r.t, func() bool {
		r.get("/api/status", &s)
		for i := range s.Targets {
			if s.Targets[i].Target == name {
				return is(&s.Targets[i])
			}
		}
		return false
	}, patience, 50*time.Millisecond, what)
}

// happened waits until a policy's time line has what is wanted, and returns that moment.
func (r *rig) happened(key, target, what string) (found app.Moment) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		var p app.PolicyTimeline
		r.get("/api/policy?key="+url.QueryEscape(key), &p)
		for _, m := range p.Timeline {
			if m.Target == target && m.What == what {
				found = m
				return true
			}
		}
		return false
	}, patience, 50*time.Millisecond, "%s of %s at %s", what, key, target)
	return found
}

// stream returns the next snapshots that are sent.
func (r *rig) stream() func() Snapshot {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.console.Addr()+"/api/events", nil)
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+guest)
	resp, err := r.client.Do(req)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewReader(resp.Body)
	return func() (s Snapshot) {
		for {
			line, err := lines.ReadString('\n')
			require.NoError(r.t, err)
			if text, ok := strings.CutPrefix(line, "data: "); ok {
				require.NoError(r.t, json.Unmarshal([]byte(text), &s))
				return s
			}
		}
	}
}
