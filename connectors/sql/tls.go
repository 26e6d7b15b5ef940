package sql

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/hms-sme/policysync/pkg/connector"
)

// TLS is how to trust the server and, with a certificate, be trusted by it. Where
// it is set, a connection without TLS is refused, whatever the DSN says.
type TLS struct {
	// CAFile holds the certificates to trust, in PEM; empty: the system's. The
	// certificate files are read for each new connection.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the client's certificate.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ServerName is the name that the server's certificate must carry. Default: the
	// host of the DSN.
	ServerName string `yaml:"server_name"`
}

// Validate implements [connector.Validator].
func (t *TLS) Validate() []connector.Mistake {
	if (t.CertFile == "") != (t.KeyFile == "") {
		return []connector.Mistake{{Message: "cert_file and key_file go together"}}
	}
	return nil
}

// config reads the files for a connection to the host of dsn; nil without t.
func (t *TLS) config(dsn *url.URL) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if c.ServerName == "" {
		c.ServerName = dsn.Hostname()
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read tls.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read tls.ca_file: %q holds no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read tls.cert_file and tls.key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

var errNoTLS = errors.New("tls is set, but SQLite is a file")
