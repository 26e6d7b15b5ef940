package kafka

import (
	"crypto/tls"
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/hms-sme/policysync/pkg/connector"
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
		tls  TLS
		want string
	}{
		{"trusted", TLS{CAFile: ca}, ""},
		{"another name", TLS{CAFile: ca, ServerName: "example.com"}, ""},
		{"not its name", TLS{CAFile: ca, ServerName: "kafka.example.org"}, "not kafka.example.org"},
		{"not trusted", TLS{}, "unknown authority"},
		{"no file", TLS{CAFile: "gone.pem"}, "kafka.tls: read ca_file: open gone.pem"},
		{"no certificate in it", TLS{CAFile: "main_test.go"}, `kafka.tls: ca_file "main_test.go" holds no PEM certificate`},
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
