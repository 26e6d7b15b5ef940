package delivery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// A push by a member whose session may have run out could come after a later version
// that another member has pushed. So none starts that the session may not outlast,
// and the target waits without looping until the session is renewed.
func TestNoAttemptThatTheSessionMayNotOutlast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(func(s *Settings) { s.Timeout = time.Second }))
		slow, quick := r.targets[0], r.targets[1] // attempts of up to 10 s, and of 1 s
		fenced := func() []bool {
			s := r.Snapshot().Targets
			return []bool{s[0].Fenced, s[1].Fenced}
		}
		r.Renew(time.Time{})
		r.publish("a")
		synctest.Wait()
		require.Empty(t, append(slow.tried(), quick.tried()...), "there is no session yet")

		r.Renew(time.Now().Add(20 * time.Second))
		synctest.Wait()
		require.Len(t, slow.tried(), 1)
		<-time.After(9 * time.Second)
		r.publish("b")
		synctest.Wait()
		require.Len(t, slow.tried(), 2)
		<-time.After(time.Second)
		r.publish("c")
		synctest.Wait()
		require.Len(t, slow.tried(), 2, "ten seconds are left, which an attempt may need")
		require.Len(t, quick.tried(), 3)
		require.Equal(t, []bool{true, false}, fenced())
		<-time.After(9 * time.Second)
		r.publish("d")
		synctest.Wait()
		require.Len(t, quick.tried(), 3)
		require.Equal(t, []bool{true, true}, fenced())

		<-time.After(time.Hour)
		require.Len(t, slow.tried(), 2)
		r.Renew(time.Now().Add(20 * time.Second))
		r.settlesAll(time.Second)
		require.Len(t, slow.offsets(""), 4)
		require.Len(t, quick.offsets(""), 4)
		require.Equal(t, []bool{false, false}, fenced())
	})
}

// A process that was stopped after an attempt began and before its call, as by
// SIGSTOP, does not make the call; the delivery is as it was.
func TestCallOfAStoppedProcessIsNotMade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(func(s *Settings) { s.Batch = Batch{Size: 4, Linger: time.Second} }))
		c := r.targets[0]
		r.Renew(time.Now().Add(20 * time.Second))
		// The first call fails as a whole, so that the batch is split: the halves are
		// calls of the same attempt, and by then the session is nearly over.
		c.set(func(context.Context, *connector.Delivery) error {
			<-time.After(9 * time.Second)
			r.Renew(time.Now().Add(time.Second))
			return connector.AsPermanent(errors.New("unexpected status 422"))
		})
		r.publish("a", "b", "c", "d")
		<-time.After(time.Minute)
		require.Len(t, c.tried(), 4, "one call of four deliveries, and none of a half")
		require.Empty(t, r.letters.all())
		c.set(nil)
		r.Renew(time.Now().Add(time.Hour))
		r.settlesAll(time.Minute)
		require.Len(t, c.offsets(""), 4)
		require.Equal(t, "closed", r.Snapshot().Targets[0].Breaker)
	})
}

// A process that was stopped may settle what it holds before it notices that it has
// lost the partition. Its receipt is known to be older than what the next owner wrote.
func TestReceiptOfAStoppedProcessIsOlderThanTheNextOwners(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		session := time.Now().Add(20 * time.Second)
		r.Renew(session)
		r.targets[0].set(func(context.Context, *connector.Delivery) error {
			<-time.After(time.Minute)
			return nil
		})
		r.publish("in flight")
		<-time.After(time.Minute)
		r.publish("garbage")
		synctest.Wait()
		c, err := r.p.Checkpoint()
		require.NoError(t, err)
		require.Len(t, c.Receipts, 2)
		for _, late := range c.Receipts {
			require.Equal(t, session, late.Time)
			next := late
			next.Source.Offset, next.Time = 9, session.Add(time.Second)
			require.True(t, late.Late(&next))
		}
		r.p.Saved()
		r.Renew(time.Now().Add(20 * time.Second)) // it was a member all the time
		r.publish("garbage")
		synctest.Wait()
		c, err = r.p.Checkpoint()
		require.NoError(t, err)
		require.Equal(t, time.Now(), c.Receipts[0].Time)
	})
}
