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
	"github.com/hms-sme/policysync/pkg/control"
)

func (r *rig) pause(target int, paused bool) {
	r.Obey(0, &control.Pause{Target: fmt.Sprintf("target%d", target), Paused: paused})
}

func numbered(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("key-", i)
	}
	return keys
}

// A paused target gets nothing, loses nothing and keeps nobody waiting.
func TestPausedTargetStartsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		small := withTarget(func(s *Settings) { s.Window.Deliveries = 10 })
		r := newRig(t, small, small)
		r.pause(0, true)
		r.publish(numbered(100)...)
		<-time.After(time.Minute)
		synctest.Wait()
		require.Empty(t, r.targets[0].tried())
		require.Len(t, r.targets[1].offsets(""), 100, "the other goes on")
		require.True(t, r.Snapshot().Targets[0].Paused)
		require.Zero(t, r.committable())

		r.pause(0, false)
		r.settlesAll(time.Minute)
		require.Len(t, r.targets[0].offsets(""), 100)
		r.targets[0].inOrder(t)
		require.Len(t, r.targets[1].tried(), 100)
	})
}

// What waits for an attempt when the pause begins waits on, whatever wakes the target.
func TestPauseHoldsBackRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil))
		r.targets[0].set(func(context.Context, *connector.Delivery) error { return errors.New("deadlock") })
		r.publish("a", "b")
		synctest.Wait()
		tried := len(r.targets[0].tried())
		r.pause(0, true)
		r.targets[0].set(nil)
		<-time.After(time.Hour)
		synctest.Wait()
		require.Len(t, r.targets[0].tried(), tried)
		r.pause(0, false)
		r.settlesAll(time.Minute)
	})
}

// An outage that began before a pause is not as long as the pause.
func TestPauseIsNoOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Outage.DeadLetterAfter = time.Hour }))
		down := connector.AsUnavailable(errors.New("connection refused"))
		r.targets[0].set(func(context.Context, *connector.Delivery) error { return down })
		r.publish("a")
		<-time.After(time.Second)
		r.pause(0, true)
		<-time.After(2 * time.Hour)
		r.pause(0, false)
		<-time.After(time.Minute)
		synctest.Wait()
		require.Greater(t, len(r.targets[0].tried()), 1)
		require.Empty(t, r.letters.all())
	})
}

// An operator who takes the policies for bad has them dead-lettered; later events can
// hold the target anew.
func TestAcceptedDeadLettersReleaseTheHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil))
		r.targets[0].set(func(context.Context, *connector.Delivery) error {
			return connector.AsPermanent(errors.New("status 422"))
		})
		r.publish(numbered(60)...)
		<-time.After(time.Hour)
		synctest.Wait()
		require.True(t, r.Snapshot().Targets[0].Held)
		require.Less(t, len(r.letters.all()), 60)

		r.Obey(0, &control.Accept{Target: "target0", UpTo: time.Now()})
		r.settlesAll(time.Second)
		require.Len(t, r.letters.all(), 60)
		require.False(t, r.Snapshot().Targets[0].Held)

		<-time.After(time.Second)
		r.publish(numbered(60)...)
		<-time.After(time.Hour)
		synctest.Wait()
		require.True(t, r.Snapshot().Targets[0].Held)
		require.Less(t, len(r.letters.all()), 120)
	})
}
