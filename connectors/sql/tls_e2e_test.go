//go:build e2e

package sql

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// certificate writes a certificate and its key, signed by ca or by itself, and
// returns it.
func certificate(t *testing.T, name string, ca *tls.Certificate) (cert *tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IsCA: ca == nil, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := template, any(key)
	if ca != nil {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	return &pair, certFile, keyFile
}

// TestE2ETLS puts TLS in front of PostgreSQL, as its protocol begins it (chapter
// 55.2.11, "SSL Session Encryption"), and asks for a client certificate.
func TestE2ETLS(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		if s.dsn.Scheme != "postgres" {
			t.Skip("TLS begins in the middle of MySQL's greeting: no one can stand before it")
		}
		dsn, db := s.fresh(t)
		exec(t, db, policiesTable)
		ca, caFile, _ := certificate(t, "authority", nil)
		server, _, _ := certificate(t, "database.example", ca)
		_, certFile, keyFile := certificate(t, "policysync", ca)
		_, strangerFile, _ := certificate(t, "stranger", nil)
		pool := x509.NewCertPool()
		pool.AddCert(ca.Leaf)
		through := *dsn
		through.Host = terminate(t, dsn.Host, &tls.Config{Certificates: []tls.Certificate{*server}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
		for name, c := range map[string]struct {
			tls  *connector.TLS
			fine bool
		}{
			"all is well":             {&connector.TLS{CAFile: caFile, CertFile: certFile, KeyFile: keyFile, ServerName: "database.example"}, true},
			"no client certificate":   {&connector.TLS{CAFile: caFile, ServerName: "database.example"}, false},
			"another name":            {&connector.TLS{CAFile: caFile, CertFile: certFile, KeyFile: keyFile}, false},
			"an unknown authority":    {&connector.TLS{CAFile: strangerFile, CertFile: certFile, KeyFile: keyFile, ServerName: "database.example"}, false},
			"the authority's missing": {&connector.TLS{CertFile: certFile, KeyFile: keyFile, ServerName: "database.example"}, false},
		} {
			t.Run(name, func(t *testing.T) {
				conn := newConnector(t, Config{DSN: connector.NewSecret(through.String()), TLS: c.tls, Tables: []connector.Named[Table]{policies()}})
				t.Cleanup(func() { require.NoError(t, conn.Close(t.Context())) })
				err := conn.Check(t.Context())
				if c.fine {
					require.NoError(t, err)
					return
				}
				t.Log(err)
				require.Equal(t, connector.Unavailable, connector.Classify(err), "%v", err)
			})
		}
	})
}

// terminate accepts TLS connections of PostgreSQL's clients and hands them on in
// the clear.
func terminate(t *testing.T, to string, config *tls.Config) (address string) {
	t.Helper()
	const sslRequest = 80877103
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			request := make([]byte, 8)
			if _, err := io.ReadFull(in, request); err != nil || binary.BigEndian.Uint32(request[4:]) != sslRequest {
				in.Close()
				continue
			}
			_, _ = in.Write([]byte{'S'})
			secure := tls.Server(in, config)
			if secure.Handshake() != nil {
				in.Close()
				continue
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			back := make(chan struct{})
			go func() { _, _ = io.Copy(secure, out); in.Close(); close(back) }()
			_, _ = io.Copy(out, secure)
			out.Close()
			<-back
		}
	}()
	return l.Addr().String()
}
