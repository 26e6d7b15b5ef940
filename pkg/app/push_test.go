package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/connectors"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/receipt"
)

func (p *platform) push(target, key string) (*control.Push, error) {
	previewer, err := NewPreviewer(p.t.Context(), p.config(""), connectors.Builtin(), discard)
	require.NoError(p.t, err)
	return previewer.NewPush(p.t.Context(), target, key, func(int64, int64) {})
}

// The newest version that the target wants is sent again, though it has it; the command
// is gone when that is proven. One that is no longer the newest is not sent.
func TestPush(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config("")
	p.running(cfg)
	p.produce(cfg, oneLine(policy("P-1", 1, "policyCreated")), oneLine(policy("P-1", 2, "policyUpdated")), oneLine(policy("P-1", 3, "policyArchived")))
	eventually(t, "all is committed", func() bool { return p.lag(cfg) == 0 })

	c, err := p.push("caseApi", "P-1")
	require.NoError(t, err)
	require.EqualValues(t, 1, c.Offset, "the api does not want the third")
	require.NoError(t, Command(t.Context(), cfg, "caseApi", c, discard))
	outcome, err := AwaitPush(t.Context(), cfg, c, discard)
	require.NoError(t, err)
	require.Equal(t, receipt.Delivered, outcome)
	require.Equal(t, []string{"POST /rules/P-1 v1", "POST /rules/P-1 v2", "POST /rules/P-1 v2"}, p.api.received())

	c, err = p.push("ledger", "P-1")
	require.NoError(t, err)
	require.EqualValues(t, 2, c.Offset)
	c.Offset = 0
	require.NoError(t, Command(t.Context(), cfg, "ledger", c, discard))
	outcome, err = AwaitPush(t.Context(), cfg, c, discard)
	require.NoError(t, err)
	require.Equal(t, receipt.Stale, outcome)
	require.Len(t, p.ledger(), 3)

	all, err := ReadCommands(t.Context(), cfg, discard)
	require.NoError(t, err)
	require.Empty(t, all.Pushes)
	_, err = p.push("caseApi", "P-2")
	require.ErrorIs(t, err, ErrNoPolicy)
	_, err = p.push("caesApi", "P-1")
	require.ErrorIs(t, err, ErrNoTarget)
}

// Commands that nobody waits for are taken away when they are obeyed, and not before.
func TestSweep(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	broken := p.config("dead_letters: {hold_ratio: 1}\n" + dividing)
	a := p.running(broken)
	p.produce(broken, oneLine(policy("P-1", 1, "policyCreated")))
	eventually(t, "all is committed", func() bool { return p.lag(broken) == 0 })
	require.NoError(t, a.Stop(t.Context()))

	l := p.open(broken)
	redrives := commanded(t, l, deadletter.Filter{Target: "ledger"})
	adm, err := NewAdmin(broken, discard)
	require.NoError(t, err)
	defer adm.Close()
	replay, err := NewReplay(t.Context(), broken, adm, ReplayRequest{Target: "other", From: "earliest"})
	require.NoError(t, err)
	replay.ID = "r1"
	_, err = StartReplay(t.Context(), broken, adm, replay)
	require.NoError(t, err)
	c := &control.Push{ID: "p1", Target: "other", Topic: "policies"}
	require.NoError(t, Command(t.Context(), broken, "other", c, discard))
	left, err := Sweep(t.Context(), broken, discard)
	require.NoError(t, err)
	require.Equal(t, 2, left, "nobody has obeyed")

	_, err = CancelCommand(t.Context(), broken, "p1", Origin("by mistake"), discard)
	require.NoError(t, err)
	_, err = CancelCommand(t.Context(), broken, "p1", Origin(""), discard)
	require.ErrorIs(t, err, ErrNoCommand)

	p.running(broken)
	obeyed(t, l, redrives)
	eventually(t, "the replay is over, and all is taken away", func() bool {
		left, err = Sweep(t.Context(), broken, discard)
		require.NoError(t, err)
		return left == 0
	})
	all, err := ReadCommands(t.Context(), broken, discard)
	require.NoError(t, err)
	require.Empty(t, all.Replays)
	require.Empty(t, all.Redrives)
}
