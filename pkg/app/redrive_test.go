package app

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/connectors"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// dividing has versions below 5 fail.
const dividing = `
targets:
  ledger: {connector: file, path: @dir/ledger.jsonl, map: {id: event.payload.policyId, n: "1 / (event.version / 5)"}}
  other: {connector: file, path: @dir/other.jsonl, map: {id: event.payload.policyId}}
`

var mended = strings.Replace(dividing, `, n: "1 / (event.version / 5)"`, "", 1)

func (p *platform) open(cfg *config.Config) *Letters {
	p.t.Helper()
	l, err := OpenLetters(cfg, discard)
	require.NoError(p.t, err)
	p.t.Cleanup(l.Close)
	return l
}

// commanded gives redrives of what the filter selects.
func commanded(t *testing.T, l *Letters, f deadletter.Filter) []RedriveStatus {
	t.Helper()
	redrives, problems, err := l.NewRedrives(t.Context(), RedriveRequest{Filter: f, Origin: Origin("mended")})
	require.NoError(t, err)
	require.Empty(t, problems)
	require.NoError(t, l.StartRedrives(t.Context(), redrives))
	return redrives
}

func obeyed(t *testing.T, l *Letters, redrives []RedriveStatus) {
	t.Helper()
	eventually(t, "nothing is left", func() bool {
		require.NoError(t, l.Progress(t.Context(), redrives))
		left := 0
		for _, r := range redrives {
			left += r.Left
		}
		return left == 0
	})
}

// Dead letters, given up by a broken mapping, arrive by a mended one: those of the target
// alone, in order, and none over a newer version. What still can't be read gets a letter
// of its own, and nothing is sent twice.
func TestRedrive(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"full", "reference"} {
		t.Run(content, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			letters := "dead_letters: {content: " + content + ", hold_ratio: 1}\n"
			broken := p.config(letters + dividing)
			a := p.running(broken)
			p.produce(broken, oneLine(policy("P-1", 1, "policyCreated")), oneLine(policy("P-2", 1, "policyCreated")),
				oneLine(policy("P-1", 2, "policyUpdated")), oneLine(policy("P-2", 5, "policyUpdated")))
			client, err := kgo.NewClient(kgo.SeedBrokers(p.broker.ListenAddrs()...))
			require.NoError(t, err)
			defer client.Close()
			require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "policies", Key: []byte("P-3"), Value: []byte("garbage")}).FirstErr())
			eventually(t, "all is committed", func() bool { return p.lag(broken) == 0 })
			require.NoError(t, a.Stop(t.Context()))
			require.Len(t, p.ledger(), 1)

			cfg := p.config(letters + mended)
			l := p.open(cfg)
			redrives := commanded(t, l, deadletter.Filter{Class: "permanent"})
			require.Len(t, redrives, 2, "one for the target, one for the record that nobody can read")
			require.Equal(t, []int{1, 3}, []int{redrives[0].Left, redrives[1].Left})
			p.running(cfg)
			obeyed(t, l, redrives)
			require.Equal(t, map[string]int{receipt.DeadLettered: 1}, redrives[0].Settled)
			require.Equal(t, map[string]int{receipt.Delivered: 2, receipt.Stale: 1}, redrives[1].Settled)
			sent := p.ledger()[1:]
			require.Len(t, sent, 2)
			require.Contains(t, sent[0], "P-1 v1")
			require.Contains(t, sent[1], "P-1 v2")

			var left []*StoredLetter
			_, err = l.Unresolved(t.Context(), &deadletter.Filter{}, func(s *StoredLetter) error { left = append(left, s); return nil })
			require.NoError(t, err)
			require.Len(t, left, 1)
			require.True(t, strings.HasSuffix(left[0].ID, "/"+redrives[0].ID))
			_, resolved, err := l.Find(t.Context(), strings.TrimSuffix(left[0].ID, "/"+redrives[0].ID))
			require.NoError(t, err)
			require.Equal(t, []string{receipt.Redriven, redrives[0].ID, receipt.DeadLettered, "mended"},
				[]string{resolved.Outcome, resolved.Command, resolved.Result, resolved.Reason})

			// Whoever takes over finds that nothing is left, though the command still stands.
			second := commanded(t, l, deadletter.Filter{})
			obeyed(t, l, second)
			require.Len(t, p.ledger(), 3)
		})
	}
}

// A target that is down keeps no other target's redrive waiting.
func TestRedriveOfOneTargetWaitsForNoOther(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	broken := p.config("dead_letters: {hold_ratio: 1}\n" + strings.Replace(dividing, "other: {connector: file, path: @dir/other.jsonl, map: {id: event.payload.policyId}}",
		`other: {connector: http, url: "@api/{key}", delete: ignore, map: {n: "1 / (event.version / 5)"}}`, 1))
	a := p.running(broken)
	p.produce(broken, oneLine(policy("P-1", 1, "policyCreated")))
	eventually(t, "all is committed", func() bool { return p.lag(broken) == 0 })
	require.NoError(t, a.Stop(t.Context()))

	cfg := p.config(strings.Replace(mended, "other: {connector: file, path: @dir/other.jsonl, map: {id: event.payload.policyId}}",
		`other: {connector: http, url: "http://127.0.0.1:1", delete: ignore}`, 1))
	l := p.open(cfg)
	p.running(cfg)
	down := commanded(t, l, deadletter.Filter{Target: "other"})
	up := commanded(t, l, deadletter.Filter{Target: "ledger"})
	obeyed(t, l, up)
	require.NoError(t, l.Progress(t.Context(), down))
	require.Equal(t, 1, down[0].Left)
}

// A member whose config lacks the target, as in a rolling deploy, resolves nothing of a redrive
// and obeys no push: both stand for the member that comes with it.
func TestCommandsWaitForAMemberThatHasTheTarget(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	broken := p.config("dead_letters: {hold_ratio: 1}\n" + dividing)
	a := p.running(broken)
	at := p.produce(broken, oneLine(policy("P-1", 1, "policyCreated")), oneLine(policy("P-2", 5, "policyCreated")))[1].Source
	eventually(t, "all is committed", func() bool { return p.lag(broken) == 0 })
	require.NoError(t, a.Stop(t.Context()))

	cfg := p.config(mended)
	l := p.open(cfg)
	redrives := commanded(t, l, deadletter.Filter{Target: "ledger"})
	push := &control.Push{ID: "p1", Target: "ledger", PolicyKey: "P-2", Topic: at.Topic, Partition: at.Partition, Offset: at.Offset}
	require.NoError(t, Command(t.Context(), cfg, "ledger", push, discard))

	var log lockedBuffer
	lacks := p.config("targets:\n  other: {connector: file, path: @dir/other.jsonl, map: {id: event.payload.policyId}}\n")
	earlier := New(lacks, Options{Version: "test", Registry: connectors.Builtin(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	t.Cleanup(func() { require.NoError(t, earlier.Stop(context.Background())) })
	require.NoError(t, earlier.Start(t.Context()))
	eventually(t, "it owns the partitions", func() bool { return earlier.engine.Owns("policies", 0) && earlier.engine.Owns("policies", 1) })
	for _, r := range []control.Record{redrives[0].Redrive, push} {
		waits := regexp.MustCompile("config lacks.*command=" + string(r.Key()) + " target=ledger")
		eventually(t, "it says why it does not obey", func() bool { return waits.MatchString(log.String()) })
	}
	require.NoError(t, earlier.Stop(t.Context()))

	p.running(cfg)
	obeyed(t, l, redrives)
	require.Equal(t, map[string]int{receipt.Delivered: 1}, redrives[0].Settled)
	outcome, err := AwaitPush(t.Context(), cfg, push, discard)
	require.NoError(t, err)
	require.Equal(t, receipt.Delivered, outcome)
	require.Len(t, p.ledger(), 3, "the one that was no letter, and each once more")
}

func TestRedriveRefuses(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	broken := p.config("receipts: off\n" + dividing)
	p.running(broken)
	p.produce(broken, oneLine(policy("P-1", 1, "policyCreated")))
	eventually(t, "all is committed", func() bool { return p.lag(broken) == 0 })
	l := p.open(broken)
	ask := func(l *Letters, allow bool) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, _, err := l.NewRedrives(ctx, RedriveRequest{AllowOldVersions: allow})
		return err
	}
	require.ErrorContains(t, ask(l, false), "receipts are off, and nobody knows whether ledger has a newer version")
	require.NoError(t, ask(l, true))
	renamed := p.open(p.config(strings.Replace(dividing, "ledger:", "newLedger:", 1)))
	require.ErrorIs(t, ask(renamed, false), ErrNoTarget)
	var wrong *RequestError
	_, _, err := l.NewRedrives(t.Context(), RedriveRequest{Filter: deadletter.Filter{IDs: make([]string, maxIDs+1)}})
	require.ErrorAs(t, err, &wrong)
}
