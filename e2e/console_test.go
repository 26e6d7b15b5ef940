//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/app"
)

const operatorToken = "0123456789abcdef0123456789abcdef"

// consoled adds the console to a world's config, for the operator ana and the viewer ben;
// members serve it if wanted.
func (w *world) consoled(byMembers bool) (url string) {
	w.t.Helper()
	dir := w.t.TempDir()
	for name, token := range map[string]string{"ana": operatorToken, "ben": "viewer-" + operatorToken} {
		require.NoError(w.t, os.WriteFile(filepath.Join(dir, name), []byte(token+"\n"), 0o600))
	}
	address := freePort(w.t)
	f, err := os.OpenFile(w.file, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(w.t, err)
	defer f.Close()
	_, err = fmt.Fprintf(f, `
admin:
  listen: %s
  console: %t
  tokens:
    ana: {role: operator, token_file: %s/ana}
    ben: {token_file: %s/ben}
`, address, byMembers, dir, dir)
	require.NoError(w.t, err)
	return "http://" + address
}

// TestConsole is the story of the person on call, in a browser: a policy did not arrive;
// they see why, the target is mended, they redrive, and see it arrive.
func TestConsole(t *testing.T) {
	w := newWorld(t, 2)
	w.configure(`
  api: {connector: scheduling, url: "@api/v1/rules", timeout: 4s, auth: {bearer: s3cret-of-the-api}}
  caseApi: {connector: scheduling, url: "@api/v1/cases", timeout: 4s, breaker: {open_for: 200ms, open_max: 1s}}
`)
	var refusing, down, arrived atomic.Bool
	refusing.Store(true)
	w.api.Answer(func(r *http.Request) (int, string) {
		switch {
		case down.Load() && strings.HasPrefix(r.URL.Path, "/v1/cases"):
			return http.StatusServiceUnavailable, ""
		case r.Header.Get("Policysync-Key") != key(7) || !strings.HasPrefix(r.URL.Path, "/v1/rules"):
		case refusing.Load():
			return http.StatusUnprocessableEntity, ""
		case r.Header.Get("Policysync-Version") == "2":
			arrived.Store(true)
		}
		return 0, ""
	})
	url := w.consoled(true)
	m := w.start()
	w.publish(40, 1, 1)
	w.settles(time.Minute)
	b := newBrowser(t)

	b.do(chromedp.Navigate(url))
	b.sees("Your token")
	b.looks("login")
	b.do(chromedp.SendKeys("input[name=token]", operatorToken+"\r"))
	b.sees("ana · operator")
	b.until("the dead letter is counted", "document.querySelector('tbody')?.innerText.includes('caseApi') && document.querySelector('.facts a')?.innerText === '1'")
	down.Store(true)
	w.publish(20, 2, 2)
	b.sees("breaker open")
	b.looks("overview")

	b.do(chromedp.Click("#find"), chromedp.SendKeys("#find", key(7)+"\r"))
	b.sees("api, caseApi do not have the newest known version, v2")
	b.sees("status 422")
	b.until("event and bodies are there", "document.querySelector('[role=tabpanel] pre')")
	b.looks("policy")
	b.clicks(".over, table", "dead letter")
	b.sees("What would be sent now")
	b.looks("letter")
	b.goes(url + "/letters")
	b.sees("status 422")
	b.looks("letters")

	refusing.Store(false)
	down.Store(false)
	b.clicks("main", "Redrive these")
	b.sees("Redrive 2 dead letters?")
	b.looks("redrive")
	b.do(chromedp.SendKeys("dialog input[name=reason]", "the agency is open again"))
	b.clicks("dialog", "Redrive")
	w.eventually("it arrives", time.Minute, arrived.Load)
	w.settles(time.Minute)
	w.eventually("its letter is resolved, after its receipt", time.Minute, func() bool {
		return !strings.Contains(w.policysync("dead-letters", "list", "-c", w.file), key(7))
	})
	b.goes(url + "/policies?key=" + key(7))
	b.sees("Every target it is for has the newest known version, v2.")
	b.sees("the agency is open again")
	b.looks("policy-arrived")

	b.goes(url + "/targets/caseApi")
	b.clicks("main", "Pause")
	b.do(chromedp.SendKeys("dialog input[name=reason]", "maintenance"))
	b.clicks("dialog", "Pause")
	b.until("it is paused", "document.querySelector('.head').innerText.includes('paused')")
	b.sees("maintenance")
	b.looks("target")
	b.clicks("main", "Resume")
	b.clicks("dialog", "Resume")
	b.until("it goes on", "document.querySelector('.head').innerText.includes('delivering')")
	b.goes(url + "/members")
	b.sees(w.topic + "/1")
	b.looks("members")
	b.goes(url + "/letters")
	b.sees("No dead letters")
	b.looks("letters-none")
	page, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.documentElement.outerHTML"))
	require.NoError(t, err)
	require.NotContains(t, page, operatorToken)
	b.fine()
	b.forges(w, url)
	m.stop()
}

// A console that is a process of its own shows all members, though none of them serves
// one. There the operator pushes one policy again; a viewer may not.
func TestConsoleOfItsOwn(t *testing.T) {
	w := newWorld(t, 2)
	w.configure(`
  api: {connector: scheduling, url: "@api/v1/rules", timeout: 4s}
`)
	url := w.consoled(false)
	first, second := w.start(), w.start()
	w.publish(10, 1, 2)
	w.settles(time.Minute)
	before := w.api.Arrivals().Applied
	w.startProgram("policysync", []string{"console"}, nil)
	w.eventually("the console answers", time.Minute, func() bool {
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	enter := func(token string) *browser {
		b := newBrowser(t)
		b.do(chromedp.Navigate(url))
		b.sees("Your token")
		b.do(chromedp.SendKeys("input[name=token]", token+"\r"))
		b.until("it lets them in", "document.querySelector('#find')")
		return b
	}
	b := enter(operatorToken)
	b.goes(url + "/members")
	b.until("it shows both", "document.querySelector('main table').querySelectorAll('tbody tr').length === 2")

	b.goes(url + "/policies?key=" + key(7))
	b.clicks("main", "Push again")
	b.sees("Push " + key(7) + " to api?")
	b.looks("push")
	b.do(chromedp.SendKeys("dialog input[name=reason]", "deleted there by hand"))
	b.clicks("dialog", "Push")
	w.eventually("it is pushed again", time.Minute, func() bool { return w.api.Arrivals().Applied == before+1 })
	b.until("the dialog is gone", "!document.querySelector('dialog')")
	b.fine()
	var pushed []string
	for _, r := range w.all(w.topic + ".control") {
		if strings.HasPrefix(string(r.Key), "push/") && r.Value != nil {
			pushed = append(pushed, string(r.Value))
		}
	}
	require.Len(t, pushed, 1)
	require.Contains(t, pushed[0], `"by":"ana"`)
	require.Contains(t, pushed[0], `"reason":"deleted there by hand"`)

	viewer := enter("viewer-" + operatorToken)
	viewer.goes(url + "/policies?key=" + key(7))
	viewer.until("they may not", "[...document.querySelectorAll('main button')].filter((e) => e.innerText.startsWith('Push again')).every((e) => e.disabled)")

	require.Contains(t, w.policysync("push", "-c", w.file, "--target", "api", "--key", key(3)), ": delivered")
	require.Equal(t, before+2, w.api.Arrivals().Applied)
	first.stop()
	second.stop()
}

// forges has another site's page send what changes things, with the operator's session.
func (b *browser) forges(w *world, url string) {
	b.t.Helper()
	commands := func() (c app.Commands) {
		require.NoError(b.t, json.Unmarshal([]byte(w.policysync("commands", "-c", w.file, "--json")), &c))
		return c
	}
	before := commands()
	evil := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(rw, "<title>evil</title>")
	}))
	defer evil.Close()
	b.do(chromedp.Navigate(evil.URL))
	for _, kind := range []string{"text/plain", "application/json"} {
		_, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](fmt.Sprintf(`fetch(%q, {method: 'POST', mode: 'no-cors', credentials: 'include',
			headers: {'Content-Type': %q}, body: '{"target": "api"}'}).then((r) => r.type, (err) => String(err))`, url+"/api/pause", kind), chromedp.EvalAwaitPromise))
		require.NoError(b.t, err)
	}
	require.Equal(b.t, before, commands())
}
