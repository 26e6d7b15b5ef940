package app

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/connectors"
	"github.com/hms-sme/policysync/pkg/connector"
)

// get asks the health server, without keeping the connection.
func get(t *testing.T, a *App, path string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + a.HealthAddr() + path)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(text)
}

func TestEveryTargetGetsEveryEvent(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config("")
	a := p.running(cfg)
	p.produce(cfg,
		oneLine(policy("P-1", 1, "policyCreated")), oneLine(policy("P-1", 2, "policyUpdated")),
		oneLine(policy("P-2", 7, "policyArchived")), `{"key": "P-1", "value": null}`)
	eventually(t, "all is settled and committed", func() bool { return p.lag(cfg) == 0 && len(p.ledger()) == 4 })

	byKey := cmpopts.SortSlices(strings.Compare) // keys may lie in different partitions
	const document = `{"id":"P-1","rules":["report"]}`
	require.Empty(t, cmp.Diff([]string{
		"delete P-1 v0 ", "upsert P-1 v1 " + document, "upsert P-1 v2 " + document,
		`upsert P-2 v7 {"id":"P-2","rules":["report"]}`,
	}, p.ledger(), byKey))
	// What the filter keeps back is not sent, and the order of a key is kept.
	require.Empty(t, cmp.Diff([]string{"POST /rules/P-1 v1", "POST /rules/P-1 v2", "DELETE /rules/P-1 v0"}, p.api.received()))

	for path, want := range map[string]string{
		"/livez": "", "/readyz": "", "/metrics": `policysync_settled_total{outcome="filtered",target="caseApi"} 1`,
	} {
		status, body := get(t, a, path)
		require.Equal(t, http.StatusOK, status, path)
		require.Contains(t, body, want)
	}
	require.Len(t, a.Snapshot().Targets, 2)

	require.NoError(t, a.Stop(t.Context()))
	p.produce(cfg, oneLine(policy("P-1", 3, "policyUpdated")))
	p.running(cfg) // the next member goes on where this one ended
	eventually(t, "the new event is settled", func() bool { return p.lag(cfg) == 0 && len(p.ledger()) == 5 })
	require.Len(t, p.api.received(), 4)
}

// Nothing is read before the expressions have been checked, for which the registry
// must be there; meanwhile the process lives and is not ready.
func TestStartWaitsForTheRegistry(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	asked, once := make(chan struct{}), sync.Once{}
	p.registry.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		once.Do(func() { close(asked) })
		return true
	})
	cfg := p.config("")
	_, err := CreateTopics(t.Context(), cfg, discard)
	require.NoError(t, err)
	a := p.service(cfg)
	started := make(chan error, 1)
	go func() { started <- a.Start(t.Context()) }()
	<-asked
	status, body := get(t, a, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "starting")
	status, _ = get(t, a, "/livez")
	require.Equal(t, http.StatusOK, status)

	p.registry.ClearInterceptors()
	require.NoError(t, <-started)
	becomesReady(t, a)
}

// A rolling update must not take the next member while the group has not taken in
// this one.
func TestReadyOnceTheGroupHasTheMember(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	refusals := p.broker.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.CoordinatorNotAvailable, Count: -1})
	a := p.running(p.config(""))
	require.NoError(t, refusals.Wait(t.Context(), 1))
	status, body := get(t, a, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "joining the group")

	refusals.Remove()
	becomesReady(t, a)
}

func becomesReady(t *testing.T, a *App) {
	t.Helper()
	eventually(t, "it is ready", func() bool { status, _ := get(t, a, "/readyz"); return status == http.StatusOK })
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, targets, want string
	}{
		{"a missing topic", "", "topics do not exist: sync.dead-letters, sync.receipts, sync.control; `policysync topics create` makes policysync's own"},
		{
			"a field that the schema lacks", "targets: {ledger: {connector: file, path: x, map: {id: event.payload.polcyId}}}",
			`policysync.yaml:6:69: targets.ledger.map.id: undefined field 'polcyId'; did you mean "policyId"?`,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			a := p.service(p.config(row.targets))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			require.ErrorContains(t, a.Start(ctx), row.want)
			require.Empty(t, a.Snapshot().Targets)
		})
	}
	t.Run("while the brokers are away, when it is told to stop", func(t *testing.T) {
		t.Parallel()
		p := newPlatform(t)
		cfg := p.config("")
		p.broker.Close()
		a := p.service(cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		require.Error(t, a.Start(ctx))
	})
}

func TestStopAnyTime(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config("")
	early := New(cfg, Options{Registry: connectors.Builtin(), Logger: discard})
	require.NoError(t, early.Stop(t.Context()), "before Start")

	a := p.running(cfg)
	var stops sync.WaitGroup
	for range 4 {
		stops.Go(func() { _ = a.Stop(t.Context()) })
	}
	stops.Wait()
	_, err := http.Get("http://" + a.HealthAddr() + "/livez")
	require.Error(t, err, "nothing is served any more")
}

// replaced returns the built-in kinds, of which "file" makes what f returns for its
// connector.
func replaced(f func(connector.Connector) connector.Connector) connector.Registry {
	registry := connectors.Builtin()
	kind := registry["file"]
	construct := kind.New
	kind.New = func(ctx context.Context, c any, env connector.Env) (connector.Connector, error) {
		inner, err := construct(ctx, c, env)
		return f(inner), err
	}
	registry["file"] = kind
	return registry
}

// watched is a connector that tells when it is closed, and whether its check had
// ended by then.
type watched struct {
	connector.Connector
	checking, closed, early atomic.Bool
}

func (w *watched) Check(ctx context.Context) error {
	w.checking.Store(true)
	defer w.checking.Store(false)
	<-ctx.Done()
	<-time.After(20 * time.Millisecond) // what a check still does with its connector
	return ctx.Err()
}

func (w *watched) Close(ctx context.Context) error {
	w.early.Store(w.checking.Load())
	w.closed.Store(true)
	return w.Connector.Close(ctx)
}

func TestStopEndsTheChecksOfTargets(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config("")
	_, err := CreateTopics(t.Context(), cfg, discard)
	require.NoError(t, err)
	w := &watched{}
	a := New(cfg, Options{Logger: discard, Registry: replaced(func(c connector.Connector) connector.Connector {
		w.Connector = c
		return w
	})})
	require.NoError(t, a.Start(t.Context()))
	eventually(t, "the check has begun", w.checking.Load)
	require.NoError(t, a.Stop(t.Context()))
	require.True(t, w.closed.Load())
	require.False(t, w.early.Load(), "closed while its check ran")
}

// A target that cannot be made leaves none of those before it open.
func TestTargetsAreMadeOrClosed(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config(targets + "  last: {connector: http, url: \"@api\", delete: ignore, tls: {ca_file: gone.pem}}\n")
	_, err := CreateTopics(t.Context(), cfg, discard)
	require.NoError(t, err)
	w := &watched{}
	a := New(cfg, Options{Logger: discard, Registry: replaced(func(c connector.Connector) connector.Connector {
		w.Connector = c
		return w
	})})
	require.ErrorContains(t, a.Start(t.Context()), "target last: ")
	require.NoError(t, a.Stop(t.Context()))
	require.True(t, w.closed.Load())
}

type panicking struct{ connector.Connector }

func (panicking) Check(context.Context) error { panic("a bug") }

func TestCheckThatPanicsIsItsError(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config("")
	_, err := CreateTopics(t.Context(), cfg, discard)
	require.NoError(t, err)
	registry := replaced(func(c connector.Connector) connector.Connector { return panicking{c} })
	var log lockedBuffer
	a := New(cfg, Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Registry: registry})
	require.NoError(t, a.Start(t.Context()))
	eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "panicked: a bug") })
	require.NoError(t, a.Stop(t.Context()))

	findings := Connect(t.Context(), cfg, registry, discard)
	i := slices.IndexFunc(findings, func(f Finding) bool { return f.Part == "target ledger" })
	require.GreaterOrEqual(t, i, 0)
	require.ErrorContains(t, findings[i].Err, "panicked: a bug")
}
