package delivery

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// What is in flight asks the target, also while its document is made.
func TestInFlightAsks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(latest))
		r.Targets[0].prepare = prepareFunc(func(*connector.Delivery) error {
			<-time.After(time.Second)
			return nil
		})
		r.publish("a")
		synctest.Wait()
		l := r.p.lanes[0]
		l.t.mu.Lock()
		asks := l.asks()
		l.t.mu.Unlock()
		r.settlesAll(2 * time.Second)
		require.True(t, asks)
	})
}
