package sql

import (
	"crypto/tls"
	"fmt"
	"net/url"

	"github.com/hms-sme/policysync/pkg/connector"
)

// secure reads the files for a connection to the host of dsn, whose name the server's
// certificate must carry unless t has another; nil without t.
func secure(t *connector.TLS, dsn *url.URL) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c, err := t.Config()
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if c.ServerName == "" {
		c.ServerName = dsn.Hostname()
	}
	return c, nil
}
