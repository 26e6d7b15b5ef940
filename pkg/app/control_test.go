package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/receipt"
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
	want := &Commands{Pauses: []PauseStatus{{"caseApi", o}}, Accepted: []AcceptStatus{}, Replays: []ReplayStatus{}, Redrives: []RedriveStatus{}, Pushes: []PushStatus{}, Done: []DoneStatus{}}
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

// A control topic that was made anew has lost what held; pauses and pushes work, and a
// replay, which the targets' control positions would pass over, is refused with what to
// do about it.
func TestControlTopicMadeAnew(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config("")
	a := p.running(cfg)
	p.produce(cfg, oneLine(policy("P-1", 1, "policyCreated")), oneLine(policy("P-2", 1, "policyCreated")))
	eventually(t, "all is committed", func() bool { return p.lag(cfg) == 0 })
	adm, err := NewAdmin(cfg, discard)
	require.NoError(t, err)
	defer adm.Close()
	replay := func(id string) error {
		r, err := NewReplay(t.Context(), cfg, adm, ReplayRequest{Target: "caseApi", From: "earliest"})
		require.NoError(t, err)
		r.ID = id
		at, err := StartReplay(t.Context(), cfg, adm, r)
		if err != nil {
			return err
		}
		eventually(t, "it is obeyed", func() bool {
			parts, err := ReplayProgress(t.Context(), adm, r, at)
			require.NoError(t, err)
			s := ReplayStatus{Parts: parts}
			return s.Done()
		})
		return FinishReplay(t.Context(), cfg, adm, r)
	}
	require.NoError(t, replay("r1"))
	require.NoError(t, a.Stop(t.Context()))

	client, err := kgo.NewClient(kgo.SeedBrokers(p.broker.ListenAddrs()...))
	require.NoError(t, err)
	defer client.Close()
	_, err = kadm.NewClient(client).DeleteTopic(t.Context(), cfg.Control.Topic)
	require.NoError(t, err)
	p.running(cfg)
	require.ErrorContains(t, replay("r2"), "topic sync.control ends at 0: it was made anew; reset the group's offsets")
	require.NoError(t, Command(t.Context(), cfg, "caseApi", &control.Pause{Target: "caseApi", Paused: true}, discard))
	c, err := p.push("ledger", "P-1")
	require.NoError(t, err)
	require.NoError(t, Command(t.Context(), cfg, "ledger", c, discard))
	outcome, err := AwaitPush(t.Context(), cfg, c, discard)
	require.NoError(t, err)
	require.Equal(t, receipt.Delivered, outcome)
}
