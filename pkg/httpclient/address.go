package httpclient

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
)

// ParseURL reads the absolute URL of something that is reached by HTTP. Its error is
// about one that names no host, or a user, and does not repeat the text.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.Unwrap(err) // its own text repeats the URL
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, errors.New("want http://HOST or https://HOST")
	case u.User != nil:
		return nil, errors.New("credentials belong under auth, not into the url")
	}
	u.Host = strings.TrimSuffix(u.Host, ":")
	return u, nil
}

// PrivateAddressError reports that a host which came from an expression has an
// address outside the public internet. It is permanent: the event names the host.
type PrivateAddressError struct{ Address netip.Addr }

func (e *PrivateAddressError) Error() string {
	return fmt.Sprintf("refuse address %s: not public, and allow_private_addresses is not set", e.Address)
}

// refusePrivate is a dialer's Control. It sees the address that is about to be
// connected to, after the name was resolved, so that a name which resolves to
// something else at each look-up (DNS rebinding) gains nothing.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("read address %q: %w", address, err)
	}
	if addr := ap.Addr().Unmap().WithZone(""); !public(addr) {
		return &PrivateAddressError{Address: addr}
	}
	return nil
}

// globalUnicast6 is the only block of IPv6 given out for use in the internet.
var globalUnicast6 = netip.MustParsePrefix("2000::/3")

// special holds the blocks that the registries of special-purpose addresses (RFC
// 6890) set aside, beyond what netip's predicates know. Those of IPv6 either lead
// nowhere or, like 6to4 and Teredo, carry an IPv4 address that may be private.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("3fff::/20"),
}

func public(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Is6() && !globalUnicast6.Contains(a) {
		return false
	}
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}
