package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// A redrive that is cancelled ends with what is under way, and so do letters that are
// discarded while it runs.
func TestRedriveEndsWithWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	const more = 50 // letters than are under way at once
	for _, row := range []struct {
		name string
		stop func(*testing.T, *config.Config, *Letters, RedriveStatus)
		left int
	}{
		{"cancelled", func(t *testing.T, cfg *config.Config, _ *Letters, r RedriveStatus) {
			_, err := CancelCommand(t.Context(), cfg, r.ID, Origin("wrong target"), discard)
			require.NoError(t, err)
		}, more},
		{"discarded", func(t *testing.T, _ *config.Config, l *Letters, _ RedriveStatus) {
			var ids []string
			_, err := l.Unresolved(t.Context(), &deadletter.Filter{}, func(s *StoredLetter) error { ids = append(ids, s.ID); return nil })
			require.NoError(t, err)
			require.NoError(t, l.Discard(t.Context(), ids, Origin("not wanted any more")))
		}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			open, asked := make(chan struct{}), atomic.Int64{}
			api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					return
				}
				asked.Add(1)
				select {
				case <-open:
				case <-r.Context().Done():
				}
			}))
			t.Cleanup(api.Close)
			p := newPlatform(t)
			text := `
dead_letters: {hold_ratio: 1}
targets:
  api: {connector: http, url: "` + api.URL + `/{key}", delete: ignore, map: {n: "1 / (event.version / 5)"}}
  other: {connector: file, path: @dir/other.jsonl, map: {id: event.payload.policyId}}
`
			broken := p.config(text)
			a := p.running(broken)
			var lines []string
			for i := range chunkLetters + more {
				lines = append(lines, oneLine(policy(fmt.Sprint("P-", i), 1, "policyCreated")))
			}
			at := p.produce(broken, lines...)[0].Source
			eventually(t, "all is committed", func() bool { return p.lag(broken) == 0 })
			require.NoError(t, a.Stop(t.Context()))

			cfg := p.config(strings.Replace(text, `, map: {n: "1 / (event.version / 5)"}`, "", 1))
			l := p.open(cfg)
			a = p.running(cfg)
			redrives := commanded(t, l, deadletter.Filter{Target: "api"})
			require.Equal(t, chunkLetters+more, redrives[0].Left)
			eventually(t, "some are under way", func() bool { return asked.Load() > 0 })
			row.stop(t, cfg, l, redrives[0])
			// The member has read what was commanded before this, and obeys the push when it is
			// done with the redrive.
			require.NoError(t, Command(t.Context(), cfg, "other", &control.Pause{Target: "other", Paused: true}, discard))
			eventually(t, "the command is read", func() bool { return a.engine.Snapshot().Targets[1].Paused })
			push := &control.Push{ID: "p1", Target: "api", PolicyKey: "P-0", Topic: at.Topic, Partition: at.Partition, Offset: at.Offset}
			require.NoError(t, Command(t.Context(), cfg, "api", push, discard))
			close(open)
			_, err := AwaitPush(t.Context(), cfg, push, discard)
			require.NoError(t, err)
			require.NoError(t, l.Progress(t.Context(), redrives))
			require.Equal(t, map[string]int{receipt.Delivered: chunkLetters}, redrives[0].Settled)
			require.Equal(t, row.left, redrives[0].Left)
		})
	}
}

// The letter of a replay that failed is not taken for delivered, though the target got that
// very version before: the mended mapping takes effect.
func TestRedriveOfAFailedReplay(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config(mended)
	a := p.running(cfg)
	p.produce(cfg, oneLine(policy("P-1", 1, "policyCreated")))
	eventually(t, "all is committed", func() bool { return p.lag(cfg) == 0 })
	require.NoError(t, a.Stop(t.Context()))

	broken := p.config("dead_letters: {hold_ratio: 1}\n" + dividing)
	a = p.running(broken)
	adm, err := NewAdmin(broken, discard)
	require.NoError(t, err)
	defer adm.Close()
	replay, err := NewReplay(t.Context(), broken, adm, ReplayRequest{Target: "ledger", From: "earliest"})
	require.NoError(t, err)
	replay.ID = "r1"
	_, err = StartReplay(t.Context(), broken, adm, replay)
	require.NoError(t, err)
	l := p.open(broken)
	eventually(t, "it fails", func() bool {
		n := 0
		_, err := l.Unresolved(t.Context(), &deadletter.Filter{}, func(*StoredLetter) error { n++; return nil })
		require.NoError(t, err)
		return n == 1
	})
	require.NoError(t, a.Stop(t.Context()))

	p.running(cfg)
	redrives := commanded(t, l, deadletter.Filter{Target: "ledger"})
	obeyed(t, l, redrives)
	require.Equal(t, map[string]int{receipt.Delivered: 1}, redrives[0].Settled)
	require.Len(t, p.ledger(), 2)
}
