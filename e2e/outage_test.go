//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/schemas"
)

// outagePort is where the broker of these tests listens; they stop it, so it is
// nobody else's. Behind the second port above, clients are sent to a proxy on the
// third.
const outagePort = 22092

// broker runs a command of the broker's own script.
func broker(t *testing.T, command ...string) string {
	t.Helper()
	c := exec.Command("servers/kafka.sh", command...)
	c.Env = append(os.Environ(), "POLICYSYNC_E2E_SET=outage", fmt.Sprintf("POLICYSYNC_E2E_KAFKA_PORT=%d", outagePort))
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	require.NoError(t, err, "%s", errs.String())
	return string(out)
}

// outage is a world whose members reach broker and registry through networks that
// can be cut.
type outage struct {
	*world
	toBroker, toRegistry *proxy
	m                    *member
	health               string
}

func newOutage(t *testing.T) *outage {
	t.Helper()
	t.Setenv("POLICYSYNC_E2E_KAFKA", fmt.Sprintf("127.0.0.1:%d", outagePort))
	o := &outage{world: newWorld(t, 2), health: freePort(t)}
	scheme, rest, _ := strings.Cut(o.registry, "://")
	host, path, _ := strings.Cut(rest, "/")
	o.toRegistry = newProxy(t, "127.0.0.1:0", host)
	o.toBroker = newProxy(t, fmt.Sprintf("127.0.0.1:%d", outagePort+3), fmt.Sprintf("127.0.0.1:%d", outagePort+2))
	o.registry = scheme + "://" + o.toRegistry.address + "/" + path
	o.broker = o.toBroker.address
	o.slowAPI(5 * time.Millisecond)
	o.configure(`
  api: {connector: scheduling, url: "@api/v1/rules", timeout: 2s, concurrency: 2}
`)
	return o
}

func (o *outage) run() { o.m = o.start("HEALTH=" + o.health) }

// answers is what the member says at a path of its health server.
func (o *outage) answers(path string) int {
	resp, err := http.Get("http://" + o.health + path)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// idles has the member sit out an outage: it lives, is as ready as it was, spends
// little, says little and dead-letters nothing.
func (o *outage) idles(what string, wait time.Duration, ready int) {
	o.t.Helper()
	cpu, said := o.m.cpu(), o.m.log.lines()
	<-time.After(wait)
	spent, lines := o.m.cpu()-cpu, o.m.log.lines()-said
	o.t.Logf("%s: %s of CPU time and %d lines of log in %s", what, spent, lines, wait)
	require.Less(o.t, spent, wait/10, "a busy loop")
	require.Less(o.t, lines, 20*int(wait/time.Second))
	require.Equal(o.t, http.StatusOK, o.answers("/livez"))
	require.Equal(o.t, ready, o.answers("/readyz"))
}

// ends checks that everything arrived, in order, and stops the member.
func (o *outage) ends(applied int) {
	o.t.Helper()
	o.settles(time.Minute)
	arrived := o.api.Arrivals()
	require.Equal(o.t, applied, arrived.Applied)
	require.Zero(o.t, arrived.OutOfOrder)
	o.t.Logf("%d of %d pushes were repeats", arrived.Repeated, applied+arrived.Repeated)
	o.m.stop()
}

// Whatever of its own infrastructure is away, a member waits for it without haste,
// goes on when it is back, and neither loses nor dead-letters anything for it.
func TestOutagesAreWaitedOut(t *testing.T) {
	broker(t, "start")
	t.Cleanup(func() { broker(t, "stop") })

	t.Run("registry down at the start", func(t *testing.T) {
		o := newOutage(t)
		o.publish(100, 1, 1)
		o.toRegistry.set(cut)
		o.run()
		o.eventually("it says what it waits for", time.Minute, func() bool { return strings.Contains(o.m.log.String(), "schema registry") })
		o.idles("registry down at the start", 5*time.Second, http.StatusServiceUnavailable)
		o.toRegistry.set(whole)
		o.ends(100)
		require.Empty(t, o.letters())
	})
	t.Run("registry down when a new schema comes", func(t *testing.T) {
		o := newOutage(t)
		o.run()
		o.publish(100, 1, 1)
		o.eventually("the known schema's events arrive", time.Minute, func() bool { return o.api.Arrivals().Applied == 100 })
		o.toRegistry.set(cut)
		registry, err := decode.NewRegistry(address(t, "REGISTRY"), &http.Client{Timeout: 10 * time.Second})
		require.NoError(t, err)
		newer := strings.Replace(schemas.PolicyEvent, `"doc"`, `"added": 1, "doc"`, 1)
		schema, err := registry.Register(t.Context(), o.topic+"-value", newer)
		require.NoError(t, err)
		o.enc.policy, err = decode.NewEncoder("confluent", schema)
		require.NoError(t, err)
		o.publish(100, 2, 2)
		o.eventually("the partitions wait", time.Minute, func() bool { return strings.Contains(o.m.log.String(), "the partition waits") })
		o.idles("registry down when a new schema comes", 5*time.Second, http.StatusOK)
		require.Equal(t, 100, o.api.Arrivals().Applied)
		o.toRegistry.set(whole)
		o.ends(200)
		require.Empty(t, o.letters())
	})
	for name, fault := range map[string]struct{ begin, end func(o *outage) }{
		"broker killed and started again": {
			func(o *outage) { broker(o.t, "kill", "1") },
			func(o *outage) { broker(o.t, "start") },
		},
		"network cut":     {func(o *outage) { o.toBroker.set(cut) }, func(o *outage) { o.toBroker.set(whole) }},
		"network stalled": {func(o *outage) { o.toBroker.set(stalled) }, func(o *outage) { o.toBroker.set(whole) }},
	} {
		t.Run(name, func(t *testing.T) {
			const policies, versions = 1000, 3
			o := newOutage(t)
			var refusing atomic.Int64
			o.api.Answer(func(r *http.Request) (int, string) {
				if r.Header.Get("Policysync-Key") == key(7) {
					refusing.Add(1)
					return http.StatusUnprocessableEntity, ""
				}
				return 0, ""
			})
			o.publish(policies, 1, versions)
			o.run()
			o.eventually("some have arrived", 30*time.Second, func() bool { return o.api.Arrivals().Applied > 300 })
			fault.begin(o)
			o.eventually("the member starts no more or knows that it is none", sessionTimeout+5*time.Second, func() bool {
				log := o.m.log.String()
				return strings.Contains(log, "no attempt starts") || strings.Count(log, "partition released") == 2
			})
			before := o.api.Arrivals()
			require.Less(t, before.Applied, policies*versions-versions, "there is something left to push")
			o.idles(name, sessionTimeout+2*time.Second, http.StatusOK)
			require.Equal(t, before, o.api.Arrivals(), "pushes of a member that may be one no more")
			fault.end(o)
			o.ends((policies - 1) * versions)
			ids := map[string]int{}
			for _, r := range o.letters() {
				require.Equal(t, key(7), string(r.Key))
				ids[header(r, "policysync.id")]++
			}
			require.Len(t, ids, versions, "letters, of which each may come twice")
		})
	}
}
