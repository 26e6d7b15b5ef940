package connector

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLS is how to trust a server and, with a certificate, be trusted by it.
type TLS struct {
	// CAFile holds the certificates to trust, in PEM; empty: the system's. It is
	// read at the start.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the client's certificate, read for each new
	// connection.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ServerName overrides the name that the server's certificate must carry.
	ServerName string `yaml:"server_name"`
}

// Validate implements [Validator].
func (t *TLS) Validate() []Mistake {
	if (t.CertFile == "") != (t.KeyFile == "") {
		return []Mistake{{Message: "cert_file and key_file go together"}}
	}
	return nil
}

// Config reads CAFile. TLS 1.2 is the least.
func (t *TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read ca_file: %q holds no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		c.GetClientCertificate = ClientCertificate(t.CertFile, t.KeyFile)
	}
	return c, nil
}

// ClientCertificate reads a client's certificate when a connection needs it, so that
// one that was renewed is used.
func ClientCertificate(certFile, keyFile string) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		return &cert, err
	}
}
