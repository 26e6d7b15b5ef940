package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/mapping"
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

// A lane whose only delivery can't settle for now is given more as soon as other lanes have
// given back what they held of the budget, whichever feed it waits with.
func TestLaneGetsWhatOthersGaveBack(t *testing.T) {
	t.Parallel()
	for name, targets := range map[string]int{"by the live feed": 1, "by a feed of its own": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const memory = 800_000 // an eighth is for windows, half of that for who comes first
				opts := []rigOption{within(memory), withTarget(func(s *Settings) { s.Retry.Max = 24 * time.Hour })}
				for range targets - 1 {
					opts = append(opts, withTarget(nil))
				}
				r := newRig(t, opts...)
				r.Targets[0].prepare = prepareFunc(func(d *connector.Delivery) error {
					if d.Key == "held" {
						return &mapping.SchemaError{ID: 8, Err: errors.New("undefined field")}
					}
					return nil
				})
				release := make(chan struct{})
				open := sync.OnceFunc(func() { close(release) })
				defer open()
				r.targets[0].set(func(_ context.Context, d *connector.Delivery) error {
					if d.Event.Partition == 1 {
						<-release
					}
					return nil
				})
				other, err := r.Assign(t.Context(), Assignment{Topic: "policies", TopicID: topicID, Partition: 1}, r.log)
				require.NoError(t, err)
				defer other.Abort()
				r.publish("held")
				synctest.Wait()
				for i := range 500 {
					hoard := record(int64(i), fmt.Sprint(i))
					hoard.Partition = 1
					other.Take([]*event.Record{hoard}, 0, int64(i)+1)
					synctest.Wait()
				}
				require.Greater(t, r.windows.held.Load(), int64(memory/16*9/10))

				big := record(1, "big")
				big.Value = make([]byte, memory/32+memory/200)
				r.next++
				r.feeds.append(big)
				r.p.Take([]*event.Record{big}, 0, 2)
				<-time.After(time.Minute)
				synctest.Wait()
				require.Equal(t, targets == 1, r.attached(0))
				require.Empty(t, r.targets[0].offsets("big"))
				open()
				<-time.After(time.Minute)
				synctest.Wait()
				require.Equal(t, []int64{1}, r.targets[0].offsets("big"))
			})
		})
	}
}
