//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// Dead letters of a target that is mended are sent again while events come; their owner
// is killed amid it. Each policy ends at its newest version, no version replaces a newer
// one, and no push that was proven is repeated.
func TestRedriveSurvivesKillOfItsOwner(t *testing.T) {
	const policies = 400
	w := newWorld(t, 4)
	w.configure(`
  api: {connector: scheduling, url: "@api/v1/rules", timeout: 2s, rate: {per_second: 150, burst: 1}}
`)
	var mu sync.Mutex
	mended, pushes := false, map[string]int{}
	w.api.Answer(func(r *http.Request) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		id := r.Header.Get("Idempotency-Key")
		if !mended && r.Header.Get("Policysync-Version") == "1" {
			return http.StatusUnprocessableEntity, ""
		}
		pushes[id]++
		return 0, ""
	})
	m := w.start()
	w.policysync("resume", "-c", w.file, "--target", "api", "--accept-dead-letters", "--reason", "test")
	w.publish(policies, 1, 1)
	w.policysync("resume", "-c", w.file, "--target", "api", "--accept-dead-letters", "--reason", "test")
	w.settles(2 * time.Minute)
	require.Len(t, w.letters(), policies)
	w.publish(policies/4, 2, 2) // a quarter of the policies has a newer version
	w.settles(time.Minute)
	mu.Lock()
	mended = true
	mu.Unlock()

	before := w.api.Arrivals().Applied
	redrive := exec.CommandContext(t.Context(), filepath.Join(bin, "policysync"), "dead-letters", "redrive", "-c", w.file, "--target", "api", "--json")
	var out tail
	redrive.Stdout = &out
	require.NoError(t, redrive.Start())
	w.eventually("the redrive pushes", time.Minute, func() bool { return w.api.Arrivals().Applied > before+50 })
	m.kill()
	w.start()
	require.NoError(t, redrive.Wait(), "%s", &out)
	var said struct{ Redrives []app.RedriveStatus }
	require.NoError(t, json.Unmarshal([]byte(out.String()), &said))
	require.Equal(t, map[string]int{receipt.Delivered: policies * 3 / 4, receipt.Stale: policies / 4}, said.Redrives[0].Settled)

	arrived := w.api.Arrivals()
	require.Zero(t, arrived.OutOfOrder)
	repeated, redriven := 0, 0
	mu.Lock()
	defer mu.Unlock()
	for id, n := range pushes {
		if strings.HasSuffix(id, "/"+said.Redrives[0].ID) {
			redriven++
			repeated += n - 1
		}
	}
	require.Equal(t, policies*3/4, redriven)
	t.Logf("%d pushes of %d letters were repeated by the crash", repeated, redriven)
	require.Less(t, repeated, 250, "no more than what was in the lanes without a receipt")
	require.Contains(t, w.policysync("dead-letters", "list", "-c", w.file), "no dead letters")
	require.NotContains(t, w.policysync("commands", "-c", w.file), "redrive")
}
