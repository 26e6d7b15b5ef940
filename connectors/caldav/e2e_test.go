//go:build e2e

package caldav

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

// realCalendar makes a calendar on the real server, and returns its URL with the
// account in it, and a config for it.
func realCalendar(t *testing.T) (string, *Config) {
	t.Helper()
	home := os.Getenv("POLICYSYNC_E2E_CALDAV")
	if home == "" {
		t.Skip("POLICYSYNC_E2E_CALDAV is not set")
	}
	at := home + fmt.Sprintf("c%d/", time.Now().UnixNano())
	for method, cleanup := range map[string]bool{"MKCALENDAR": false, http.MethodDelete: true} {
		call := func() {
			req, err := http.NewRequest(method, at, nil)
			require.NoError(t, err)
			resp, err := (&http.Client{}).Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			require.Less(t, resp.StatusCode, 300)
		}
		if cleanup {
			t.Cleanup(call)
		} else {
			call()
		}
	}
	u, err := url.Parse(at)
	require.NoError(t, err)
	secret, _ := u.User.Password()
	cfg := configOf("")
	cfg.Auth.Basic = &httpclient.Basic{Username: u.User.Username(), Password: connector.NewSecret(secret)}
	u.User = nil
	cfg.URL = u.String()
	return at, cfg
}

type readBack struct {
	Title   string
	Version int64
	Starts  []string
}

// read asks another's client what the calendar holds.
func read(t *testing.T, url string) map[string]readBack {
	t.Helper()
	c := exec.Command(os.Getenv("POLICYSYNC_E2E_PYTHON"), "testdata/read.py", url, "2027-03-06", "2027-03-22")
	c.Stderr = os.Stderr
	out, err := c.Output()
	require.NoError(t, err)
	var held map[string]readBack
	require.NoError(t, json.Unmarshal(out, &held))
	return held
}

func TestRealConformance(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{
		New: func(t *testing.T) connectortest.System {
			at, cfg := realCalendar(t)
			return connectortest.System{
				Connector: newConnector(t, cfg),
				Applied: func(t *testing.T) map[string]connectortest.Record {
					records := map[string]connectortest.Record{}
					for key, held := range read(t, at) {
						records[key] = connectortest.Record{Title: held.Title, Version: held.Version}
					}
					return records
				},
			}
		},
		Secrets: []string{"open-sesame"},
	})
}

// A rule at nine o'clock in New York is at nine before and after clocks change, for
// another's client that expands it.
func TestRealRecurrence(t *testing.T) {
	at, cfg := realCalendar(t)
	c := newConnector(t, cfg)
	t.Cleanup(func() { _ = c.Close(t.Context()) })
	_, err := c.Push(t.Context(), change(t, c, 3, 1))
	require.NoError(t, err)
	require.Equal(t, map[string]readBack{"P-1": {"Weekend Inspections", 3, []string{
		"2027-03-06T09:00:00-05:00", "2027-03-13T09:00:00-05:00", "2027-03-20T09:00:00-04:00",
	}}}, read(t, at))

	// The server's own ETag guards: what another client wrote in between is not lost.
	stale, err := c.call(t.Context(), http.MethodPut, c.urlOf("P-1"), change(t, c, 4, 2).Document.(*document).text,
		condition(&held{etag: `"not what it has"`}))
	require.NoError(t, err)
	require.Equal(t, http.StatusPreconditionFailed, stale.Status)
	receipt, err := c.Push(t.Context(), change(t, c, 2, 5))
	require.NoError(t, err)
	require.True(t, receipt.Stale)
}

func TestRealMistakes(t *testing.T) {
	_, cfg := realCalendar(t)
	missing := *cfg
	missing.URL += "no-such-calendar/"
	c := newConnector(t, &missing)
	require.Error(t, c.Check(t.Context()))
	_, err := c.Push(t.Context(), change(t, c, 1, 1))
	require.Equal(t, connector.Unavailable, connector.Classify(err), "%v", err)
	require.NoError(t, c.Close(t.Context()))

	wrong := *cfg
	wrong.Auth.Basic = &httpclient.Basic{Username: "e2e", Password: connector.NewSecret("wrong")}
	c = newConnector(t, &wrong)
	_, err = c.Push(t.Context(), change(t, c, 1, 1))
	require.Equal(t, connector.Unavailable, connector.Classify(err), "%v", err)
	require.NoError(t, c.Close(t.Context()))
}
