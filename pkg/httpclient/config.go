package httpclient

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"

	"golang.org/x/net/http/httpguts"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Config is how to be let in by an HTTP server, and how to trust it.
type Config struct {
	Auth Auth `yaml:"auth"`
	TLS  TLS  `yaml:"tls"`
	// AllowPrivateAddresses lets a host that comes from an expression be in a
	// private network. Whoever can publish an event can then make policysync call
	// any service in that network.
	AllowPrivateAddresses bool `yaml:"allow_private_addresses"`
}

// Auth is what a request carries to be let in: at most one of its fields is set.
// Secrets are read again for each request, so that a rotated file takes effect.
type Auth struct {
	// Bearer is a token for the header Authorization (RFC 6750).
	Bearer connector.Secret `yaml:"bearer"`
	Basic  *Basic           `yaml:"basic"`
	APIKey *APIKey          `yaml:"api_key"`
	OAuth2 *OAuth2          `yaml:"oauth2" later:"true"`
	MTLS   *MTLS            `yaml:"mtls" later:"true"`
}

// Basic is a user name with its password (RFC 7617).
type Basic struct {
	Username string           `yaml:"username" required:"true"`
	Password connector.Secret `yaml:"password" required:"true"`
}

// APIKey is a header with a secret value.
type APIKey struct {
	Header string           `yaml:"header" default:"X-API-Key"`
	Value  connector.Secret `yaml:"value" required:"true"`
}

// OAuth2 is the client credentials grant (RFC 6749, section 4.4).
type OAuth2 struct {
	TokenURL     string           `yaml:"token_url" required:"true"`
	ClientID     string           `yaml:"client_id" required:"true"`
	ClientSecret connector.Secret `yaml:"client_secret" required:"true"`
	Scopes       []string         `yaml:"scopes"`
}

// MTLS is a client certificate that is the only credential.
type MTLS struct {
	CertFile string `yaml:"cert_file" required:"true"`
	KeyFile  string `yaml:"key_file" required:"true"`
}

// TLS is how to trust the server and, with a certificate, be trusted by it.
type TLS struct {
	// CAFile holds the certificates to trust, in PEM; empty: the system's. It is
	// read once.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the client's certificate, read for each new
	// connection.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ServerName overrides the name that the server's certificate must carry.
	ServerName string `yaml:"server_name"`
}

// Validate reports what the types of the fields cannot say.
func (a *Auth) Validate() []connector.Mistake {
	var ms []connector.Mistake
	n := 0
	for _, set := range []bool{!a.Bearer.IsZero(), a.Basic != nil, a.APIKey != nil} {
		if set {
			n++
		}
	}
	if n > 1 {
		ms = append(ms, connector.Mistake{Message: "more than one of bearer, basic and api_key is set"})
	}
	if a.APIKey != nil && !httpguts.ValidHeaderFieldName(a.APIKey.Header) {
		ms = append(ms, connector.Mistake{
			Path: "api_key.header", Message: fmt.Sprintf("%q is no name of a header", a.APIKey.Header),
		})
	}
	return ms
}

// Validate reports what the types of the fields cannot say.
func (t *TLS) Validate() []connector.Mistake {
	if (t.CertFile == "") != (t.KeyFile == "") {
		return []connector.Mistake{{Message: "cert_file and key_file go together"}}
	}
	return nil
}

// set adds the credentials to a request of our own.
func (a *Auth) set(req *http.Request) error {
	switch {
	case !a.Bearer.IsZero():
		token, err := a.Bearer.Reveal()
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	case a.Basic != nil:
		password, err := a.Basic.Password.Reveal()
		if err != nil {
			return err
		}
		req.SetBasicAuth(a.Basic.Username, password)
	case a.APIKey != nil:
		value, err := a.APIKey.Value.Reveal()
		if err != nil {
			return err
		}
		req.Header.Set(a.APIKey.Header, value)
	}
	return nil
}

func (t *TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
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
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			return &cert, err
		}
	}
	return c, nil
}

// reveal lists the texts that would give the credentials away.
func (a *Auth) reveal() []string {
	secrets := []connector.Secret{a.Bearer}
	if a.APIKey != nil {
		secrets = append(secrets, a.APIKey.Value)
	}
	if a.Basic != nil {
		secrets = append(secrets, a.Basic.Password)
	}
	var texts []string
	for _, secret := range secrets {
		text, err := secret.Reveal()
		if err != nil || text == "" {
			continue
		}
		texts = append(texts, text)
		if a.Basic != nil {
			texts = append(texts, base64.StdEncoding.EncodeToString([]byte(a.Basic.Username+":"+text)))
		}
	}
	return texts
}
