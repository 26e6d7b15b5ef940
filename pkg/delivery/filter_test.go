package delivery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/mapping"
	"github.com/hms-sme/policysync/pkg/receipt"
	"github.com/hms-sme/policysync/pkg/route"
)

var (
	errFilter     = errors.New("filter: no such key: region")
	errUncompiled = &mapping.SchemaError{ID: 9, Err: errors.New("undefined field")}
)

// filteredBy routes to two targets, of which only the first has a filter.
type filteredBy func(*event.Event) error

func (filter filteredBy) Route(ev *event.Event) route.Decision {
	err := filter(ev)
	return route.Decision{Targets: []route.Verdict{{Deliver: err == nil, Err: err}, {Deliver: true}}}
}

func failsFor(err error, but string) filteredBy {
	return func(ev *event.Event) error {
		if ev.Key == but {
			return nil
		}
		return err
	}
}

// Promise 3: while the letters of a target's filter are not acknowledged, the others are
// sent what comes.
func TestFilterThatFailsKeepsNoOtherTargetWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil), routedBy(failsFor(errFilter, "")))
		r.letters.block = make(chan struct{})
		r.publish(numbered(100)...)
		synctest.Wait()
		require.Len(t, r.targets[1].offsets(""), 100)
		require.Empty(t, r.targets[0].tried())
		require.Zero(t, r.committable())
	})
}

// A filter that fails for each of many policies is rarely their fault: it holds its target.
func TestFilterThatFailsHoldsItsTarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil), routedBy(failsFor(errFilter, "")))
		r.publish(numbered(200)...)
		<-time.After(time.Hour)
		synctest.Wait()
		require.True(t, r.Snapshot().Targets[0].Held)
		letters := r.letters.all()
		require.Len(t, letters, 10)
		require.Equal(t, []string{"target0", "permanent", errFilter.Error()}, []string{letters[0].Target, letters[0].Class, letters[0].Error})
		require.False(t, r.Snapshot().Targets[1].Held)
	})
}

// The letter of a replay is not the one that was written before, which somebody may have
// resolved.
func TestFilterThatFailsInAReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil), routedBy(failsFor(errFilter, "")))
		r.publish("k")
		r.settlesAll(time.Second)
		r.Obey(0, replayOf("r1", 0, 0))
		<-time.After(time.Minute)
		synctest.Wait()
		letters := r.letters.all()
		require.Len(t, letters, 2)
		require.Equal(t, letters[0].ID+"/r1", letters[1].ID)
	})
}

// What is sent again and the filter fails for becomes another letter; what it does not
// compile for waits for a config that does, as it did the first time.
func TestFilterThatFailsInARedelivery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil), routedBy(failsFor(errFilter, "")))
		kept := r.proving()
		r.publish("k")
		r.drained()
		require.Equal(t, []string{receipt.DeadLettered}, r.redeliver(again(0, "k")))
		letters := r.letters.all()
		require.Len(t, letters, 2)
		require.Equal(t, letters[0].ID+"/c1", letters[1].ID)
		require.Equal(t, letters[1].ID, kept.last().Letter)

		r.Router = failsFor(errUncompiled, "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := r.Redeliver(ctx, []Again{again(0, "k")})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Len(t, r.letters.all(), 2)
	})
}

// A held target is asked by what gets as far as the target, though that came last: the others,
// of which each would fail as it did, don't have it wait for a canary each.
func TestHeldTargetIsAskedByWhatItsFilterLetsThrough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil), routedBy(failsFor(errFilter, "good")))
		r.publish(numbered(200)...)
		<-time.After(time.Hour)
		r.publish("good")
		<-time.After(2 * time.Minute) // canaries are at most 90 s apart
		synctest.Wait()
		require.Equal(t, []int64{200}, r.targets[0].offsets(""))
		require.Greater(t, len(r.letters.all()), 10)
	})
}
