package kafka

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What confirms an answer, request by request. Each begins a second after the one
// before and takes 100 ms; a time in want is that of the confirmed request.
func TestWhatConfirmsAHeartbeat(t *testing.T) {
	t.Parallel()
	const (
		beat     = kmsg.Heartbeat
		next     = kmsg.ConsumerGroupHeartbeat
		assigned = kmsg.Key(-1)
		broken   = kmsg.Key(1000) // plus the key: no answer comes
	)
	for name, row := range map[string]struct {
		requests []kmsg.Key
		want     []int
	}{
		"each by the next":               {[]kmsg.Key{beat, beat, beat}, []int{0, 1}},
		"each by the next, KIP-848":      {[]kmsg.Key{next, next, next}, []int{0, 1}},
		"one without an answer, by none": {[]kmsg.Key{beat, beat + broken, beat, beat}, []int{0, 2}},
		"not by a join":                  {[]kmsg.Key{beat, kmsg.JoinGroup, beat}, nil},
		"nor by a repeat after a search": {[]kmsg.Key{beat, kmsg.FindCoordinator, beat}, nil},
		"nor by a sync, which is itself": {[]kmsg.Key{beat, kmsg.SyncGroup, beat}, []int{1}},
		"a new assignment by itself":     {[]kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup, assigned}, []int{1}},
		"what others ask is no matter":   {[]kmsg.Key{beat, kmsg.OffsetCommit, kmsg.Metadata, beat}, []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var got []int
				s := &session{renew: func(sent time.Time) {
					require.Zero(t, sent.Sub(began)%time.Second)
					got = append(got, int(sent.Sub(began)/time.Second))
				}}
				for i, key := range row.requests {
					<-time.After(time.Until(began.Add(time.Duration(i) * time.Second)))
					if key == assigned {
						s.assigned()
						continue
					}
					var err error
					if key >= broken {
						key, err = key-broken, errors.New("connection reset")
					}
					<-time.After(20 * time.Millisecond)
					s.OnBrokerWrite(kgo.BrokerMetadata{}, int16(key), 0, 0, 20*time.Millisecond, nil)
					<-time.After(80 * time.Millisecond)
					s.OnBrokerE2E(kgo.BrokerMetadata{}, int16(key), kgo.BrokerE2E{
						TimeToWrite: 20 * time.Millisecond, ReadWait: 30 * time.Millisecond, TimeToRead: 50 * time.Millisecond, ReadErr: err,
					})
				}
				require.Equal(t, row.want, got)
			})
		})
	}
}

// A process that is stopped between a request and a hook must not take the time of
// its waking for that of the request.
func TestStoppedProcessDatesItsHeartbeatRight(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]struct{ write, read time.Duration }{
		"before the write's hook":  {write: time.Minute},
		"before the answer's hook": {read: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var sent time.Time
				s := &session{renew: func(at time.Time) { sent = at }}
				<-time.After(stop.write)
				s.OnBrokerWrite(kgo.BrokerMetadata{}, int16(kmsg.Heartbeat), 0, 0, 0, nil)
				<-time.After(stop.read)
				s.OnBrokerE2E(kgo.BrokerMetadata{}, int16(kmsg.Heartbeat), kgo.BrokerE2E{TimeToRead: stop.write})
				s.OnBrokerWrite(kgo.BrokerMetadata{}, int16(kmsg.Heartbeat), 0, 0, 0, nil)
				require.Zero(t, sent.Sub(began))
			})
		})
	}
}

// A member that the group may have given up pushes nothing: not after the session
// has run out, and not so shortly before that the push could outlast it. The answers
// here are of a kind after which the client repeats the heartbeat without joining.
func TestNoPushAfterTheSession(t *testing.T) {
	protocols(t, func(t *testing.T, protocol memberOption) {
		const sessionTimeout, timeout = 4 * time.Second, 2 * time.Second
		c := newCluster(t, 1)
		var mu sync.Mutex
		var last time.Time
		target := newRecorder()
		target.set(func(context.Context, place) error {
			mu.Lock()
			defer mu.Unlock()
			last = time.Now()
			return nil
		})
		m := c.join(map[string]*recorder{"target": target}, protocol, withSession(sessionTimeout, timeout))
		c.publish(0, numbered(3)...)
		c.settled()

		cut := time.Now()
		fault := c.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Heartbeat, kmsg.ConsumerGroupHeartbeat}, TopLevel: true, Err: kerr.CoordinatorNotAvailable, Count: -1,
		})
		eventually(t, "the target is fenced", func() bool {
			c.publish(0, numbered(1)...)
			return m.engine.Snapshot().Targets[0].Fenced
		})
		mu.Lock()
		require.WithinRange(t, last, cut, cut.Add(sessionTimeout-timeout))
		mu.Unlock()
		require.Contains(t, m.log.String(), "no attempt starts")

		fault.Remove()
		c.settled()
		_, repeated := target.arrived()
		require.Zero(t, repeated)
	})
}

func TestTiming(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	timing, err := c.admin().Timing(t.Context())
	require.NoError(t, err)
	require.Equal(t, Timing{Session: 15 * time.Second, Heartbeat: 1500 * time.Millisecond}, timing, "the member's own")

	config := c.config()
	config.GroupProtocol = "consumer"
	ask := func() Timing {
		a, err := NewAdmin(config, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		defer a.Close()
		timing, err := a.Timing(t.Context())
		require.NoError(t, err)
		return timing
	}
	require.Equal(t, Timing{Session: 45 * time.Second, Heartbeat: 5 * time.Second}, ask(), "Kafka's defaults")
	set := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	for name, value := range map[string]string{"consumer.session.timeout.ms": "50000", "consumer.heartbeat.interval.ms": "6000"} {
		config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		config.Name, config.Value = name, &value
		resource.Configs = append(resource.Configs, config)
	}
	set.Resources = append(set.Resources, resource)
	resp, err := set.RequestWith(t.Context(), c.writer)
	require.NoError(t, err)
	require.NoError(t, kerr.ErrorForCode(resp.Resources[0].ErrorCode))
	require.Equal(t, Timing{Session: 50 * time.Second, Heartbeat: 6 * time.Second}, ask(), "the group's")
}
