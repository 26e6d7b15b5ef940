package kafka

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/event"
)

// A rebalance during a shutdown must not hand a partition to another member while
// this one still pushes to it.
func TestRevokeWaitsForTheDrainOfStop(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.publish(0, "slow")
	open := make(chan struct{})
	target := newRecorder()
	target.set(closedFor(open, place{0, 0}))
	m := c.join(map[string]*recorder{"target": target})
	eventually(t, "in flight", func() bool { return len(target.attempts()) == 1 })
	go m.Stop(false)
	eventually(t, "stopping", func() bool { return m.Assigned() == 0 })
	time.AfterFunc(100*time.Millisecond, func() { close(open) })
	m.release(map[string][]int32{topic: {0}}, true)
	n, _ := target.arrived()
	require.Equal(t, 1, n)
	require.EqualValues(t, 1, c.committed(0).Offset)
	m.Stop(false)
}

// A partition whose restart is under way, and waits for an attempt in flight, keeps no other
// one that is revoked with it reading and pushing meanwhile.
func TestRevokeDrainsAllAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	c.publish(0, "slow")
	c.publish(1, "quick")
	target, closed := newRecorder(), make(chan struct{})
	open := sync.OnceFunc(func() { close(closed) })
	t.Cleanup(open)
	target.set(func(_ context.Context, p place) error {
		if p.partition == 0 {
			<-closed // whatever its timeout
		}
		return nil
	})
	m := c.join(map[string]*recorder{"target": target}, drainFor(never))
	t.Cleanup(open) // before the member stops
	eventually(t, "one is delivered, one in flight", func() bool { return len(target.attempts()) == 2 && c.committed(1).Offset == 1 })
	m.Group.mu.Lock()
	slow := m.live[partition{topic, 0}]
	m.Group.mu.Unlock()
	slow.p.Diverge(errors.New("cut"))
	eventually(t, "it is restarted", func() bool { return strings.Contains(m.log.String(), "the log is not the one that was read") })
	released := make(chan struct{})
	go func() {
		defer close(released)
		m.release(map[string][]int32{topic: {0, 1}}, true)
	}()
	eventually(t, "the other one has ended", func() bool { return !m.engine.Owns(topic, 1) })
	require.True(t, m.engine.Owns(topic, 0))
	open()
	<-released
}

// A broker that does not answer must not hold up a revoke, which waits for what
// writes letters.
func TestLetterEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cancel()
		c.SleepControl(func() { <-answer })
		return nil, nil, false
	})
	l := Letters{Producer: c.producer(), Topic: letter}
	err := l.Write(ctx, deadletter.Letter{ID: "id"}, &event.Record{})
	require.ErrorIs(t, err, context.Canceled)
	close(answer)
}
