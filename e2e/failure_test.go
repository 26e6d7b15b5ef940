//go:build e2e

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/demo"
)

// What each kind of trouble does, in the terms of the table in README: bad bytes, an
// unknown schema and a refused policy are one dead letter each; a wrong credential
// and a closed port are waited out and dead-letter nothing; all else arrives.
func TestEachFailureDoesWhatItShould(t *testing.T) {
	const policies = 200
	w := newWorld(t, 4)
	port := freePort(t)
	w.configure(`
  api:
    connector: scheduling
    url: "@api/v1/rules"
    timeout: 2s
    breaker: {open_for: 500ms, open_max: 1s}
  late:
    connector: scheduling
    url: "http://` + port + `/v1/rules"
    timeout: 2s
    breaker: {open_for: 500ms, open_max: 1s}
`)
	var expired atomic.Bool
	expired.Store(true)
	w.api.Answer(func(r *http.Request) (int, string) {
		switch {
		case expired.Load():
			return http.StatusUnauthorized, ""
		case r.Header.Get("Policysync-Key") == key(7):
			return http.StatusUnprocessableEntity, ""
		}
		return 0, ""
	})
	w.start()
	w.write("garbage", []byte("not Avro at all"))
	w.write("unknown", append(binary.BigEndian.AppendUint32([]byte{0}, 1<<30), 1, 2, 3))
	w.publish(policies, 1, 2)

	w.eventually("the API has refused the credential for a while", time.Minute, func() bool { return w.api.Arrivals().Refused > 12 })
	require.Zero(t, w.api.Arrivals().Applied)
	expired.Store(false)
	w.eventually("all but the refused policy has arrived", time.Minute, func() bool { return w.api.Arrivals().Applied == 2*(policies-1) })

	late := demo.NewScheduler()
	l, err := net.Listen("tcp", port)
	require.NoError(t, err)
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: late}}
	server.Start()
	t.Cleanup(server.Close)
	w.settles(time.Minute)
	require.Equal(t, 2*policies, late.Arrivals().Applied)
	require.Zero(t, late.Arrivals().OutOfOrder+w.api.Arrivals().OutOfOrder)

	causes := map[string]int{}
	for _, r := range w.letters() {
		causes[header(r, "policysync.target")+" "+string(r.Key)]++
		require.Equal(t, "permanent", header(r, "policysync.class"))
		t.Logf("letter %s: %s", header(r, "policysync.id"), header(r, "policysync.error"))
	}
	require.Equal(t, map[string]int{" garbage": 1, " unknown": 1, "api " + key(7): 2}, causes)
}

// freePort is an address that nobody listens on. It lies below the ports that
// the system gives to outgoing connections: one of those is soon taken again.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		require.NoError(t, err)
		defer l.Close()
		return l.Addr().String()
	}
}
