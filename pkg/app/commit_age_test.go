package app

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/control"
)

// The age is what the alert about commits looks at. A target that is paused has a lag
// and nothing to commit; a commit that hangs has taken all that is dirty.
func TestCommitAgeIsOfWhatWaitsForACommit(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config("")
	a := p.running(cfg)
	pause := func(paused bool) {
		require.NoError(t, Command(t.Context(), cfg, "ledger", &control.Pause{Target: "ledger", Paused: paused, Origin: Origin("")}, discard))
		eventually(t, "the member follows", func() bool { return a.Snapshot().Targets[0].Paused == paused })
	}
	pause(true)
	p.produce(cfg, oneLine(policy("P-1", 1, "policyCreated")))
	eventually(t, "one target has it, the other lags", func() bool { return len(p.api.received()) == 1 && p.lag(cfg) == 1 })
	eventually(t, "what settled is committed", func() bool { return a.Snapshot().CommitAge == 0 })

	committing, open := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	p.broker.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		if once.CompareAndSwap(false, true) {
			close(committing)
			p.broker.SleepControl(func() { <-open })
		}
		return nil, nil, false
	})
	pause(false)
	<-committing
	first := a.Snapshot().CommitAge
	require.Positive(t, first)
	eventually(t, "it grows", func() bool { return a.Snapshot().CommitAge >= first+50*time.Millisecond })
	close(open)
	eventually(t, "it is committed", func() bool { return a.Snapshot().CommitAge == 0 })
}
