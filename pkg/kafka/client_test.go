package kafka

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

func ping(t *testing.T, c Config) error {
	t.Helper()
	a, err := NewAdmin(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Ping(t.Context())
}

func TestLogin(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 1, kfake.EnableSASL(), kfake.Superuser(mechanism, "sync", "right"))
			config := c.config()
			config.SASL = &SASL{Mechanism: mechanism, Username: "sync", Password: connector.NewSecret("right")}
			require.NoError(t, ping(t, config))
			config.SASL.Password = connector.NewSecret("wrong-secret")
			err := ping(t, config)
			require.ErrorContains(t, err, "reach kafka: ")
			require.NotContains(t, err.Error(), "wrong-secret")
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(nil) // it has a certificate for 127.0.0.1 and example.com
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(&tls.Config{Certificates: server.TLS.Certificates}))
	require.NoError(t, err)
	defer broker.Close()
	for _, row := range []struct {
		name string
		tls  connector.TLS
		want string
	}{
		{"trusted", connector.TLS{CAFile: ca}, ""},
		{"another name", connector.TLS{CAFile: ca, ServerName: "example.com"}, ""},
		{"not its name", connector.TLS{CAFile: ca, ServerName: "kafka.example.org"}, "not kafka.example.org"},
		{"not trusted", connector.TLS{}, "unknown authority"},
		{"no file", connector.TLS{CAFile: "gone.pem"}, "kafka.tls: read ca_file: open gone.pem"},
		{"no certificate in it", connector.TLS{CAFile: "main_test.go"}, `kafka.tls: read ca_file: "main_test.go" holds no certificate in PEM`},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := ping(t, Config{Brokers: broker.ListenAddrs(), TLS: &row.tls})
			if row.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, row.want)
		})
	}
}

// With a record to send and no broker to reach, the client does not keep a processor
// busy, and sends it once there is one.
func TestUnreachableBrokerIsWaitedFor(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	config := c.config()
	var mu sync.Mutex
	var down bool
	var open []net.Conn
	refused := 0
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if down {
			refused++
			return nil, errors.New("connection refused")
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			open = append(open, conn)
		}
		return conn, err
	}
	c.ControlKey(int16(kmsg.InitProducerID), func(kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		down = true
		for _, conn := range open {
			conn.Close()
		}
		return nil, errors.New("the broker goes away"), true
	})
	p, err := NewProducer(config, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	acked := make(chan error, 1)
	began := time.Now()
	p.Send(t.Context(), &event.Record{Position: event.Position{Topic: topic}, Value: []byte("v")},
		func(_ event.Position, err error) { acked <- err })
	eventually(t, "it tries to connect", func() bool { mu.Lock(); defer mu.Unlock(); return refused >= 20 })
	require.Greater(t, time.Since(began), 5*dialPause, "for 20 tries")
	mu.Lock()
	down = false
	mu.Unlock()
	require.NoError(t, <-acked)
}
