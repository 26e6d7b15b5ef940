//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

var pictures = flag.Bool("pictures", false, "keep what the browser shows among the test's artifacts")

// browser is a headless Chromium with one tab.
type browser struct {
	t   *testing.T
	ctx context.Context
	axe string
	// complaints are errors of scripts, and what axe finds.
	mu         sync.Mutex
	complaints []string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	axe, err := os.ReadFile(address(t, "AXE"))
	require.NoError(t, err)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(address(t, "CHROMIUM")), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(time.Minute), chromedp.WindowSize(1280, 900))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, axe: string(axe)}
	require.NoError(t, chromedp.Listen(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			b.complain(ev.ExceptionDetails.Text + " " + ev.ExceptionDetails.Exception.Description)
		case *log.EventEntryAdded: // a violation of the content security policy among them
			if ev.Entry.Level == "error" {
				b.complain(ev.Entry.Text + " " + ev.Entry.URL)
			}
		}
	}))
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
			t.Logf("the page says:\n%s", text)
		}
	})
	return b
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, steps...))
}

// goes opens a page and waits until it has stopped reading.
func (b *browser) goes(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
	b.until("the page is there", "document.querySelector('main').children.length > 0 && !document.querySelector('[aria-busy]') && !document.body.innerText.includes('Reading …')")
}

// until waits for a condition of the page.
func (b *browser) until(what, condition string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+condition+")"))
		return err == nil && ok
	}, time.Minute, 100*time.Millisecond, what)
}

// sees waits for a text.
func (b *browser) sees(text string) {
	b.t.Helper()
	b.until("the page says "+text, fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// clicks presses the button or link with the given name, inside an element.
func (b *browser) clicks(inside, name string) {
	b.t.Helper()
	b.until("there is "+name, fmt.Sprintf(`(() => {
		const e = [...document.querySelectorAll('%s :is(a, button)')].find((e) => (e.getAttribute('aria-label') ?? e.innerText).trim().startsWith(%q) && !e.disabled);
		e?.click();
		return e;
	})()`, inside, name))
}

// looks shows the page in each mode, and has axe judge it.
func (b *browser) looks(name string) {
	b.t.Helper()
	for _, size := range []struct {
		name          string
		width, height int64
	}{{"desktop", 1280, 900}, {"phone", 390, 844}} {
		for _, scheme := range []string{"light", "dark"} {
			_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
			})
			require.NoError(b.t, err)
			b.do(chromedp.EmulateViewport(size.width, size.height))
			mode := name + "-" + size.name + "-" + scheme
			if *pictures {
				picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
				require.NoError(b.t, err)
				require.NoError(b.t, os.WriteFile(filepath.Join(b.t.ArtifactDir(), mode+".png"), picture, 0o644))
			}
			for _, found := range b.violations() {
				b.complain(mode + ": " + found)
			}
			wide, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
			require.NoError(b.t, err)
			if wide {
				b.complain(mode + ": the page is wider than the screen")
			}
		}
	}
	b.do(chromedp.EmulateViewport(1280, 900))
}

// violations are what axe finds of WCAG 2.2 AA and of its own best practices.
func (b *browser) violations() []string {
	b.t.Helper()
	there, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean(window.axe)"))
	require.NoError(b.t, err)
	if !there {
		_, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](b.axe+"; true"))
		require.NoError(b.t, err)
	}
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](`(async () => {
		const result = await axe.run(document, { resultTypes: ['violations'] });
		return result.violations.flatMap((v) => v.nodes.map((n) => v.id + ': ' + n.html.slice(0, 200) + ' ' + n.failureSummary));
	})()`, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err)
	return found
}

func (b *browser) complain(of string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, of)
}

// fine checks that nothing was found wrong with any page.
func (b *browser) fine() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(b.t, strings.Join(b.complaints, "\n"))
}
