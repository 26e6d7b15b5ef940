package webhook

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
	"github.com/hms-sme/policysync/pkg/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	oldSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("the old secret of 24 bytes"))
	newSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("the new secret of 24 bytes"))
)

// partner is an endpoint that verifies each request by another's implementation
// and keeps what it was told. It folds repeats by webhook-id.
type partner struct {
	*httptest.Server
	verify *standardwebhooks.Webhook
	// mu guards what follows, which requests share with the test.
	mu      sync.Mutex
	told    map[string]connectortest.Record
	ids     map[string]int
	bodies  []string
	status  int // answered to everything, unless 0
	stalled chan struct{}
}

func newPartner(t *testing.T, secret string) *partner {
	t.Helper()
	verify, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	p := &partner{verify: verify, told: map[string]connectortest.Record{}, ids: map[string]int{}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *partner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		p.stalled <- struct{}{}
		<-r.Context().Done()
		return
	}
	var told struct {
		Type, Key string
		Version   int64
		Data      *struct{ Title string }
	}
	_ = json.Unmarshal(body, &told)
	switch {
	case p.status != 0:
		w.WriteHeader(p.status)
	case r.Method == http.MethodHead:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case p.verify.Verify(body, r.Header) != nil:
		w.WriteHeader(http.StatusUnauthorized)
	case told.Data != nil && told.Data.Title == connectortest.BadTitle:
		w.WriteHeader(http.StatusUnprocessableEntity)
	case told.Data == nil:
		delete(p.told, told.Key)
	default:
		p.told[told.Key] = connectortest.Record{Title: told.Data.Title, Version: told.Version}
	}
	p.ids[r.Header.Get("Webhook-Id")]++
	p.bodies = append(p.bodies, string(body))
}

func (p *partner) answer(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
}

func newConnector(t *testing.T, url string, secrets ...connector.Secret) *Connector {
	t.Helper()
	cfg := &Config{URL: url, Signing: Signing{Secrets: secrets}, DeletedType: "deleted"}
	require.Empty(t, cfg.Validate())
	c, err := New(t.Context(), cfg, connector.Env{Concurrency: 16})
	require.NoError(t, err)
	return c.(*Connector)
}

func TestConformance(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{
		New: func(t *testing.T) connectortest.System {
			p := newPartner(t, newSecret)
			fail := func(status int) func(*testing.T) func() {
				return func(*testing.T) func() {
					p.answer(status)
					return func() { p.answer(0) }
				}
			}
			return connectortest.System{
				Connector: newConnector(t, p.URL, connector.NewSecret(newSecret)),
				Applied: func(*testing.T) map[string]connectortest.Record {
					p.mu.Lock()
					defer p.mu.Unlock()
					return maps.Clone(p.told)
				},
				Fail: map[connector.Class]func(*testing.T) func(){
					connector.Transient: fail(500), connector.Unavailable: fail(503),
					connector.Throttled: fail(429), connector.Permanent: fail(400),
				},
				Stall: func(*testing.T) <-chan struct{} {
					p.mu.Lock()
					defer p.mu.Unlock()
					p.stalled = make(chan struct{}, 1)
					return p.stalled
				},
			}
		},
		RefusesBadTitle: true,
		Secrets:         []string{newSecret, strings.TrimPrefix(newSecret, "whsec_")},
	})
}

func delivery(op connector.Op) *connector.Delivery {
	d := &connector.Delivery{
		ID: "id/0/7/partner", Key: "P-1", Op: op, Attempt: 1,
		Event: &event.Event{
			Record: &event.Record{Timestamp: time.UnixMilli(1_750_000_000_123).UTC()},
			Key:    "P-1", HasKey: true, Type: "policyUpdated",
		},
	}
	if op == connector.Upsert {
		d.Version = connector.Version{Value: 3, Known: true}
		d.Event.Value = &event.Object{Names: []string{"title"}, Values: []any{"Weekend <Inspections>"}}
	}
	return d
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	p := newPartner(t, newSecret)
	c := newConnector(t, p.URL, connector.NewSecret(newSecret))
	t.Cleanup(func() { _ = c.Close(t.Context()) })
	for _, op := range []connector.Op{connector.Upsert, connector.Upsert, connector.Delete} {
		d := delivery(op)
		require.NoError(t, c.Prepare(d))
		_, err := c.Push(t.Context(), d)
		require.NoError(t, err)
	}
	require.JSONEq(t, `{"type": "policyUpdated", "timestamp": "2025-06-15T15:06:40.123Z", "key": "P-1", "version": 3,
		"data": {"title": "Weekend <Inspections>"}}`, p.bodies[0])
	require.JSONEq(t, `{"type": "deleted", "timestamp": "2025-06-15T15:06:40.123Z", "key": "P-1", "data": null}`, p.bodies[2])
	require.Len(t, p.ids, 1, "a delivery that comes back has another id")
	for id := range p.ids {
		require.Regexp(t, `^msg_[0-9a-f]{32}$`, id)
	}
}

// While a secret is replaced, a partner that knows only the old one and one that
// knows only the new one both take the same request.
func TestRotation(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "new")
	require.NoError(t, os.WriteFile(file, []byte(newSecret+"\n"), 0o600))
	for _, known := range []string{oldSecret, newSecret} {
		p := newPartner(t, known)
		c := newConnector(t, p.URL, connector.SecretFile(file), connector.NewSecret(oldSecret))
		d := delivery(connector.Upsert)
		require.NoError(t, c.Prepare(d))
		_, err := c.Push(t.Context(), d)
		require.NoError(t, err)
		require.NoError(t, c.Close(t.Context()))
	}
	p := newPartner(t, oldSecret)
	c := newConnector(t, p.URL, connector.SecretFile(file))
	t.Cleanup(func() { _ = c.Close(t.Context()) })
	d := delivery(connector.Upsert)
	require.NoError(t, c.Prepare(d))
	_, err := c.Push(t.Context(), d)
	require.Equal(t, connector.Unavailable, connector.Classify(err), "the partner does not know the secret yet")
}

// An endpoint that is wrong, gone or moved is no fault of a change: nothing is
// dead-lettered for it. What refuses a change is.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]connector.Class{
		301: connector.Unavailable, 307: connector.Unavailable, 404: connector.Unavailable, 405: connector.Unavailable,
		410: connector.Unavailable, 401: connector.Unavailable, 502: connector.Unavailable, 504: connector.Unavailable,
		400: connector.Permanent, 413: connector.Permanent, 422: connector.Permanent,
		429: connector.Throttled, 500: connector.Transient,
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			p := newPartner(t, newSecret)
			p.answer(status)
			c := newConnector(t, p.URL, connector.NewSecret(newSecret))
			defer func() { _ = c.Close(t.Context()) }()
			d := delivery(connector.Upsert)
			require.NoError(t, c.Prepare(d))
			_, err := c.Push(t.Context(), d)
			require.Equal(t, want, connector.Classify(err), "%v", err)
		})
	}
}

// A secret that cannot be used is the operator's to put right, and nobody else's to
// read.
func TestBadSecret(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"hush", "whsec_hush", "whsec_" + base64.StdEncoding.EncodeToString([]byte("hush hush"))} {
		c := newConnector(t, "http://nowhere.invalid", connector.NewSecret(oldSecret), connector.NewSecret(bad))
		d := delivery(connector.Upsert)
		require.NoError(t, c.Prepare(d))
		_, err := c.Push(t.Context(), d)
		require.EqualError(t, err, "read signing secret 2: want whsec_ and base64 of 24 to 64 bytes")
		require.Equal(t, connector.Unavailable, connector.Classify(err))
		require.EqualError(t, c.Check(t.Context()), err.Error())
		require.NoError(t, c.Close(t.Context()))
	}
}

// An endpoint that takes nothing but signed posts is fit; one that is gone is not.
func TestCheck(t *testing.T) {
	t.Parallel()
	for status, fit := range map[int]bool{200: true, 401: true, 404: true, 405: true, 410: false, 503: false} {
		p := newPartner(t, newSecret)
		p.answer(status)
		c := newConnector(t, p.URL, connector.NewSecret(newSecret))
		require.Equal(t, fit, c.Check(t.Context()) == nil, "status %d", status)
		require.NoError(t, c.Close(t.Context()))
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"partner.example/hooks", "https://", "https://kate:hush@partner.example"} {
		require.Len(t, (&Config{URL: url}).Validate(), 1, url)
	}
}
