package admin_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/pkg/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newServer(c admin.Checks) *admin.Server {
	return admin.NewHealth(admin.Health{Listen: "127.0.0.1:0"}, c, slog.New(slog.DiscardHandler))
}

func yes() error { return nil }

func get(t *testing.T, s *admin.Server, method, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addr()+path, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	s := newServer(admin.Checks{
		Live:  yes,
		Ready: func() error { return errors.New("no partition has been assigned yet") },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "policysync_lag 0\n")
		}),
	})
	require.Empty(t, s.Addr())
	require.NoError(t, s.Start(t.Context()))
	defer func() { require.NoError(t, s.Stop(t.Context())) }()

	for _, c := range []struct {
		method, path string
		code         int
		body         string
	}{
		{http.MethodGet, "/livez", http.StatusOK, "ok\n"},
		{http.MethodHead, "/livez", http.StatusOK, ""},
		{http.MethodGet, "/readyz", http.StatusServiceUnavailable, "no partition has been assigned yet\n"},
		{http.MethodGet, "/metrics", http.StatusOK, "policysync_lag 0\n"},
		{http.MethodPost, "/livez", http.StatusMethodNotAllowed, "Method Not Allowed\n"},
		{http.MethodGet, "/", http.StatusNotFound, "404 page not found\n"},
	} {
		code, body := get(t, s, c.method, c.path)
		require.Equal(t, c.code, code, c.path)
		require.Equal(t, c.body, body, c.path)
	}
}

func TestStartRefusesATakenAddress(t *testing.T) {
	t.Parallel()
	first := newServer(admin.Checks{Live: yes, Ready: yes, Metrics: http.NotFoundHandler()})
	require.NoError(t, first.Start(t.Context()))
	defer func() { require.NoError(t, first.Stop(t.Context())) }()
	second := admin.NewHealth(admin.Health{Listen: first.Addr()},
		admin.Checks{Live: yes, Ready: yes, Metrics: http.NotFoundHandler()}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, second.Start(t.Context()), "listen for health: listen tcp "+first.Addr())
}

func TestStop(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	s := newServer(admin.Checks{
		Ready: yes, Metrics: http.NotFoundHandler(),
		Live: func() error {
			close(entered)
			<-release
			return nil
		},
	})
	require.NoError(t, s.Start(t.Context()))
	var pending sync.WaitGroup
	pending.Go(func() {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+"/livez", nil)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
		}
	})
	<-entered
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Stop(short), context.DeadlineExceeded, "a request is still under way")
	close(release)
	pending.Wait()
	require.NoError(t, s.Stop(t.Context()), "again")

	unstarted := newServer(admin.Checks{Live: yes, Ready: yes, Metrics: http.NotFoundHandler()})
	require.NoError(t, unstarted.Stop(t.Context()))
}
