package delivery

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/receipt"
)

// What a replay failed at is sent again, though the target got that very version before; what
// was sent again since is not.
func TestRedeliveryOfWhatAReplayFailedAt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.proving()
		r.publish("k")
		r.drained()
		<-time.After(time.Minute)
		r.targets[0].refusing(0)
		r.Obey(0, replayOf("r1", 0, 0))
		<-time.After(time.Minute)
		r.drained()
		letters := r.letters.all()
		require.Len(t, letters, 1)
		a := again(0, "k")
		a.Failed = letters[0].LastAttempt
		require.Equal(t, []string{receipt.Delivered}, r.redeliver(a))
		require.Equal(t, []int64{0}, r.targets[0].ids("c1"))
		require.Equal(t, []string{receipt.Delivered}, r.redeliver(a), "whoever sent it did not come to tell")
		require.Equal(t, []int64{0}, r.targets[0].ids("c1"))
	})
}
