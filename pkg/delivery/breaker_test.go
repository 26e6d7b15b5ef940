package delivery

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/mapping"
)

// A delivery that can't be mapped tells nothing about the target: it neither
// closes the breaker nor is asked again and again while the breaker waits for a
// canary.
func TestUnmappedCanaryIsNoAnswer(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"schema": &mapping.SchemaError{ID: 8, Err: errors.New("undefined field")},
		"values": errors.New("no such key"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTarget(func(s *Settings) {
					s.Breaker.MinRequests = 1
					s.Retry.Initial, s.Retry.Max = time.Hour, time.Hour
				}))
				var mapped atomic.Int64
				r.Targets[0].prepare = prepareFunc(func(d *connector.Delivery) error {
					if mapped.Add(1); d.Key == "unmapped" {
						return err
					}
					return nil
				})
				r.targets[0].set(refused)
				r.publish("down")
				synctest.Wait()
				r.targets[0].set(func(ctx context.Context, _ *connector.Delivery) error { <-ctx.Done(); return ctx.Err() })
				r.publish("unmapped", "unmapped", "unmapped")
				for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-time.After(time.Second / 10) {
					synctest.Wait()
					require.NotEqual(t, "closed", r.Snapshot().Targets[0].Breaker)
				}
				require.Less(t, mapped.Load(), int64(20))
			})
		})
	}
}
