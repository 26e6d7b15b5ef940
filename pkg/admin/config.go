// Package admin serves what an operator and the platform ask a running process:
// whether it lives, whether it is ready, and its metrics; and it guards the admin API,
// of which the console is the face: who somebody is, and what they may do.
//
// It decides none of the answers. Those about health are functions that it is given;
// the admin API is package console's.
package admin

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Config is where the admin API is served, and to whom.
type Config struct {
	// Listen is HOST:PORT. What other machines reach wants tokens or a proxy.
	Listen string `yaml:"listen" default:"127.0.0.1:8081"`
	// Console serves the admin API and the web console from each member.
	Console bool `yaml:"console" default:"false"`
	// TLS serves HTTPS; leave it out where a proxy ends TLS.
	TLS *TLS `yaml:"tls"`
	// Tokens let in who knows one, by the name before it: a user of the API or of the console.
	Tokens []connector.Named[Token] `yaml:"tokens"`
	// Proxy lets in whom an authenticating proxy names.
	Proxy *Proxy `yaml:"proxy"`
}

// TLS is the certificate that the server shows. Both files are read at each
// handshake, so that a renewed one is used.
type TLS struct {
	// CertFile and KeyFile are in PEM.
	CertFile string `yaml:"cert_file" required:"true"`
	KeyFile  string `yaml:"key_file" required:"true"`
}

func (t *TLS) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("admin.tls: %w", err)
		}
		return &cert, nil
	}}
}

// Token is a secret of at least [MinToken] bytes that stands for a user.
type Token struct {
	// Role is what the user may do: look, or change things too.
	Role  string           `yaml:"role" default:"viewer" oneof:"viewer operator"`
	Token connector.Secret `yaml:"token" required:"true"`
}

// MinToken is the number of bytes below which a token is refused: it could be guessed.
const MinToken = 16

// Proxy is an authenticating proxy in front.
type Proxy struct {
	// Addresses are where the proxy speaks from, as addresses or networks. From
	// anywhere else its headers mean nothing.
	Addresses []string `yaml:"addresses" required:"true"`
	// UserHeader names the user, GroupsHeader their groups, with commas between.
	UserHeader   string `yaml:"user_header" default:"X-Forwarded-User"`
	GroupsHeader string `yaml:"groups_header" default:"X-Forwarded-Groups"`
	// Operators and Viewers are groups; "*" stands for everybody whom the proxy names.
	Operators []string `yaml:"operators"`
	Viewers   []string `yaml:"viewers"`
}

// Validate implements [connector.Validator].
func (p *Proxy) Validate() (mistakes []connector.Mistake) {
	for i, text := range p.Addresses {
		if _, err := network(text); err != nil {
			mistakes = append(mistakes, connector.Mistake{Path: fmt.Sprintf("addresses[%d]", i), Message: err.Error()})
		}
	}
	if len(p.Operators)+len(p.Viewers) == 0 {
		mistakes = append(mistakes, connector.Mistake{Message: `nobody would be let in: want operators or viewers, each a list of groups or ["*"]`})
	}
	return mistakes
}

// network reads an address as the network that has no other.
func network(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q: want an address such as 10.1.2.3, or a network such as 10.1.0.0/16", text)
	}
	return p.Masked(), nil
}

// Open reports that nobody has to log in: everybody who reaches the address may look,
// and nobody may change anything.
func (c *Config) Open() bool { return len(c.Tokens) == 0 && c.Proxy == nil }

// Validate implements [connector.Validator]. What other machines can reach has a login.
func (c *Config) Validate() []connector.Mistake {
	if c.Open() && !loopback(c.Listen) {
		return []connector.Mistake{{Path: "listen", Message: fmt.Sprintf(
			"%q is reachable from other machines and nobody has to log in: want admin.tokens or admin.proxy, or an address such as 127.0.0.1:8081", c.Listen)}}
	}
	return nil
}

// loopback reports whether only this machine reaches host:port.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
