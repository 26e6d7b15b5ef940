package httpclient

import (
	"fmt"

	"golang.org/x/net/http/httpguts"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Config is how to be let in by an HTTP server, and how to trust it.
type Config struct {
	Auth Auth          `yaml:"auth"`
	TLS  connector.TLS `yaml:"tls"`
	// Signature signs each request, beside what Auth adds.
	Signature *Signature `yaml:"signature"`
	// Proxy is the URL of an HTTP or SOCKS5 proxy; without it the variables HTTPS_PROXY,
	// HTTP_PROXY and NO_PROXY decide. A host that comes from an expression is reached
	// without a proxy, which would connect where its address cannot be judged, unless
	// AllowPrivateAddresses is set.
	Proxy connector.Secret `yaml:"proxy"`
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
	OAuth2 *OAuth2          `yaml:"oauth2"`
	MTLS   *MTLS            `yaml:"mtls"`
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

// OAuth2 is the client credentials grant (RFC 6749, section 4.4). The token is kept,
// renewed when nine tenths of its life are over, and fetched anew when it is refused.
// A token endpoint that fails, however it does, is an outage of the target.
type OAuth2 struct {
	TokenURL     string           `yaml:"token_url" required:"true"`
	ClientID     string           `yaml:"client_id" required:"true"`
	ClientSecret connector.Secret `yaml:"client_secret" required:"true"`
	Scopes       []string         `yaml:"scopes"`
	// Params are sent to the token endpoint besides, such as audience.
	Params map[string]string `yaml:"params"`
	// ClientAuth says where the client's id and secret stand in the request for a
	// token: in the header Authorization, or in the body.
	ClientAuth string `yaml:"client_auth" default:"header" oneof:"header body"`
	// TLS is how to trust the token endpoint, which often has another certificate
	// than the API.
	TLS connector.TLS `yaml:"tls"`
}

// Validate reports what the types of the fields cannot say.
func (o *OAuth2) Validate() []connector.Mistake {
	if _, err := ParseURL(o.TokenURL); err != nil {
		return []connector.Mistake{{Path: "token_url", Message: err.Error()}}
	}
	return nil
}

// MTLS is a client certificate that is the only credential, as PEM files that are
// read for each new connection.
type MTLS struct {
	CertFile string `yaml:"cert_file" required:"true"`
	KeyFile  string `yaml:"key_file" required:"true"`
}

// Validate reports what the types of the fields cannot say.
func (a *Auth) Validate() []connector.Mistake {
	var ms []connector.Mistake
	n := 0
	for _, set := range []bool{!a.Bearer.IsZero(), a.Basic != nil, a.APIKey != nil, a.OAuth2 != nil, a.MTLS != nil} {
		if set {
			n++
		}
	}
	if n > 1 {
		ms = append(ms, connector.Mistake{Message: "more than one of bearer, basic, api_key, oauth2 and mtls is set"})
	}
	if a.APIKey != nil && !httpguts.ValidHeaderFieldName(a.APIKey.Header) {
		ms = append(ms, connector.Mistake{
			Path: "api_key.header", Message: fmt.Sprintf("%q is no name of a header", a.APIKey.Header),
		})
	}
	return ms
}
