package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/control"
)

// A pause that was commanded while nobody ran holds from the first event on, and over
// a restart, for one target alone.
func TestPauseHoldsOverARestart(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config("")
	_, err := CreateTopics(t.Context(), cfg, discard)
	require.NoError(t, err)
	o := Origin("maintenance")
	pause := func(paused bool) {
		t.Helper()
		require.NoError(t, Command(t.Context(), cfg, "caseApi", &control.Pause{Target: "caseApi", Paused: paused, Origin: o}, discard))
	}
	pause(true)
	want := &Commands{Pauses: []PauseStatus{{"caseApi", o}}, Accepted: []AcceptStatus{}, Replays: []ReplayStatus{}, Redrives: []RedriveStatus{}, Pushes: []PushStatus{}}
	got, err := ReadCommands(t.Context(), cfg, discard)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, got))
	for n := range 2 {
		a := p.running(cfg)
		p.produce(cfg, oneLine(policy("P-1", n+1, "policyCreated")))
		eventually(t, "the other target has it", func() bool { return len(p.ledger()) == n+1 })
		require.Empty(t, p.api.received())
		require.True(t, a.Snapshot().Targets[1].Paused)
		require.NoError(t, a.Stop(t.Context()))
	}
	p.running(cfg)
	pause(false)
	eventually(t, "all is delivered", func() bool { return p.lag(cfg) == 0 })
	require.Len(t, p.api.received(), 2)
	got, err = ReadCommands(t.Context(), cfg, discard)
	require.NoError(t, err)
	require.Empty(t, got.Pauses)
}

func TestCommandsFold(t *testing.T) {
	t.Parallel()
	c := &Commands{}
	for _, r := range []control.Record{
		&control.Pause{Target: "a", Paused: true}, &control.Pause{Target: "b", Paused: true}, &control.Pause{Target: "a"},
		&control.Accept{Target: "a", UpTo: time.Unix(1, 0).UTC()}, &control.Accept{Target: "a", UpTo: time.Unix(2, 0).UTC()},
	} {
		key, value, err := control.Encode(r)
		require.NoError(t, err)
		c.add(0, key, value)
	}
	c.add(0, []byte("pause/b"), nil)
	c.add(0, []byte("later/x"), []byte("{}"))
	c.add(0, []byte("pause/c"), []byte("{"))
	require.Empty(t, c.Pauses)
	require.Equal(t, []AcceptStatus{{Target: "a", UpTo: time.Unix(2, 0).UTC()}}, c.Accepted)
	require.Len(t, c.Problems, 1)
}

func TestCommandRefuses(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	require.ErrorIs(t, Command(t.Context(), p.config(""), "caesApi", &control.Pause{}, discard), ErrNoTarget)
	require.ErrorContains(t, Command(t.Context(), p.config(""), "caseApi", &control.Pause{}, discard), "topic sync.control does not exist")
}
