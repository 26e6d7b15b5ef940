//go:build e2e

package chaos

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// links are the fault proxies, by the names of the schedule. A link to Kafka is one
// proxy per broker: half of the members use one, half the other.
type links struct {
	t       *testing.T
	server  *toxiproxy.ApiServer
	proxies map[string][]*toxiproxy.Proxy
}

func newLinks(t *testing.T) *links {
	return &links{
		t: t, server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		proxies: map[string][]*toxiproxy.Proxy{},
	}
}

// add puts a proxy before upstream and returns where it listens; listen may end in
// port 0.
func (l *links) add(name, listen, upstream string) string {
	l.t.Helper()
	p := toxiproxy.NewProxy(l.server, name, listen, upstream)
	require.NoError(l.t, p.Start())
	l.t.Cleanup(p.Stop)
	l.proxies[name] = append(l.proxies[name], p)
	return p.Listen
}

// addKafka puts the proxies of one side, "a" or "b", where the brokers say that they
// are found, and returns their addresses as a list in YAML.
func (l *links) addKafka(side string) string {
	l.t.Helper()
	listener := map[string]int{"a": 2, "b": 4}[side]
	var addresses []string
	for i := range brokers {
		port := kafkaPort + 10*i + listener
		addresses = append(addresses, l.add("kafka-"+side, fmt.Sprintf("127.0.0.1:%d", port+1), fmt.Sprintf("127.0.0.1:%d", port)))
	}
	return `"` + strings.Join(addresses, `", "`) + `"`
}

// behind puts a proxy before the server of a URL and returns the URL to use instead.
func (l *links) behind(name, address string) string {
	l.t.Helper()
	u, err := url.Parse(address)
	require.NoError(l.t, err)
	_, _, err = net.SplitHostPort(u.Host)
	require.NoError(l.t, err)
	u.Host = l.add(name, "127.0.0.1:0", u.Host)
	return u.String()
}

// cut ends the link's connections and refuses new ones until mend.
func (l *links) cut(name string) {
	for _, p := range l.proxies[name] {
		p.Stop()
	}
}

// slow adds latency in both directions until mend.
func (l *links) slow(name string, latency time.Duration) {
	for _, p := range l.proxies[name] {
		for _, stream := range []string{"upstream", "downstream"} {
			_, err := p.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
				`{"type": "latency", "stream": %q, "attributes": {"latency": %d, "jitter": %d}}`,
				stream, latency.Milliseconds()/2, latency.Milliseconds()/4)))
			require.NoError(l.t, err)
		}
	}
}

// mend makes the link whole again.
func (l *links) mend(name string) {
	for _, p := range l.proxies[name] {
		p.Toxics.ResetToxics(context.Background())
		if !p.Enabled {
			require.NoError(l.t, p.Start())
		}
	}
}
