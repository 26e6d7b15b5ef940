package delivery

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

func batches(size int, linger time.Duration) rigOption {
	return withTarget(func(s *Settings) { s.Batch = Batch{Size: size, Linger: linger}; s.Concurrency = 4 })
}

// One bad row never takes its neighbours to the dead letters, and costs them no
// attempt.
func TestBadRowIsSplitFromItsBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, batches(64, time.Second))
		c := r.targets[0]
		c.set(failing(connector.AsPermanent(errors.New("value too long")), "k13", "k40"))
		for i := range 64 {
			r.publish(fmt.Sprint("k", i))
		}
		r.settlesAll(time.Minute)
		require.Len(t, r.letters.all(), 2)
		require.Len(t, c.offsets(""), 62)
		for _, a := range c.tried() {
			require.Equal(t, 1, a.n, "splits are part of one attempt")
		}
	})
}

// A transient failure of a batch is no reason to split it.
func TestTransientBatchIsRetriedWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, batches(10, time.Second))
		c := r.targets[0]
		c.set(func(_ context.Context, d *connector.Delivery) error {
			if d.Attempt == 1 {
				return errServer
			}
			return nil
		})
		for i := range 10 {
			r.publish(fmt.Sprint(i))
		}
		r.settlesAll(time.Minute)
		require.Empty(t, r.letters.all())
		require.Equal(t, 10, len(c.tried())-10, "each was tried twice")
	})
}

func TestBatchWaitsForItsLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, batches(100, time.Second))
		c := r.targets[0]
		for i := range 30 {
			r.publish(fmt.Sprint(i))
			<-time.After(20 * time.Millisecond)
		}
		require.Empty(t, c.tried())
		<-time.After(500 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, 1, c.calls)
		require.Len(t, c.offsets(""), 30)
		for i := range 100 {
			r.publish(fmt.Sprint(i))
		}
		synctest.Wait()
		require.Equal(t, 2, c.calls, "a full batch goes at once")
	})
}

// A window smaller than what would fill the batch must not cost the linger.
func TestFullWindowFlushesTheBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) {
			s.Batch = Batch{Size: 100, Linger: time.Hour}
			s.Window.Deliveries = 10
		}))
		for i := range 55 {
			r.publish(fmt.Sprint(i))
		}
		synctest.Wait()
		require.Len(t, r.targets[0].offsets(""), 50)
	})
}

// Versions of one key share a batch where the connector applies it in order.
func TestOrderedBatchHoldsSeveralVersionsOfAKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, batches(100, time.Second))
		c := r.targets[0]
		for i := range 100 {
			r.publish(fmt.Sprint(i % 3))
		}
		r.settlesAll(5 * time.Second)
		require.LessOrEqual(t, c.calls, 2)
		c.inOrder(t)
	})
}
