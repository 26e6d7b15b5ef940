package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// session follows the member's heartbeats, to tell until when the group counts it
// as a member. It is a hook of the member's client.
//
// A hook sees that a request was answered, not how. But in one session kgo sends
// the next heartbeat only after one that succeeded or told of a rebalance, and both
// prolong the session; after any other answer it first joins again or, if the
// coordinator has moved, looks for the new one. So a heartbeat is confirmed by the
// next one, and what begins a session by the first: a SyncGroup, or the joining
// heartbeat of KIP-848. A new assignment confirms the answer that brought it.
type session struct {
	renew func(sent time.Time)

	// mu guards the rest, between kgo's goroutines for writing and for reading.
	mu       sync.Mutex
	written  time.Time // when the request began to be written that no answer has come to
	answered time.Time // when the request was sent that was answered last
}

// OnBrokerWrite implements [kgo.HookBrokerWrite].
func (s *session) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch kmsg.Key(key) {
	case kmsg.Heartbeat, kmsg.ConsumerGroupHeartbeat:
		s.confirm()
	case kmsg.SyncGroup, kmsg.JoinGroup, kmsg.FindCoordinator:
	default:
		return
	}
	s.written, s.answered = time.Time{}, time.Time{}
	if err == nil && proves(key) {
		s.written = time.Now().Add(-took)
	}
}

// OnBrokerE2E implements [kgo.HookBrokerE2E]. The earlier of the two times at which
// the request may have been sent counts: if the process is stopped just before a
// hook runs, that hook's is too late.
func (s *session) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	sent := time.Now().Add(-e2e.DurationE2E())
	s.mu.Lock()
	defer s.mu.Unlock()
	if !proves(key) || s.written.IsZero() || e2e.Err() != nil {
		return
	}
	if s.written.Before(sent) {
		sent = s.written
	}
	s.answered, s.written = sent, time.Time{}
}

// assigned is told of a new assignment before the next heartbeat.
func (s *session) assigned() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirm()
}

func (s *session) confirm() {
	if !s.answered.IsZero() {
		s.renew(s.answered)
	}
}

// proves reports whether a good answer to a request means to be a member.
func proves(key int16) bool {
	return slices.Contains([]kmsg.Key{kmsg.Heartbeat, kmsg.ConsumerGroupHeartbeat, kmsg.SyncGroup}, kmsg.Key(key))
}

// Timing is how the group watches its members.
type Timing struct {
	// Session is how long it waits for a silent member.
	Session time.Duration
	// Heartbeat is the time between two heartbeats of a member.
	Heartbeat time.Duration
}

// Timing asks how the group watches its members: with the classic protocol the
// member's own config says, with KIP-848 the group's config in Kafka. Without the
// right to describe that, Kafka's defaults are assumed.
func (a *Admin) Timing(ctx context.Context) (Timing, error) {
	c := &a.config
	if c.GroupProtocol == "classic" {
		return Timing{Session: c.SessionTimeout, Heartbeat: c.HeartbeatInterval()}, nil
	}
	req := kmsg.NewPtrDescribeConfigsRequest()
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeGroupConfig, c.Group
	req.Resources = append(req.Resources, resource)
	resp, err := req.RequestWith(ctx, a.client)
	if err != nil {
		return Timing{}, fmt.Errorf("describe config of group %s: %w", c.Group, err)
	}
	t := Timing{Session: 45 * time.Second, Heartbeat: 5 * time.Second}
	for _, r := range resp.Resources {
		err := kerr.ErrorForCode(r.ErrorCode)
		switch {
		case errors.Is(err, kerr.GroupAuthorizationFailed):
			a.log.WarnContext(ctx, "not allowed to describe the config of the group: assuming Kafka's default session timeout",
				"group", c.Group, "session_timeout", t.Session)
		case err != nil:
			return Timing{}, fmt.Errorf("describe config of group %s: %w", c.Group, err)
		}
		for _, setting := range r.Configs {
			switch setting.Name {
			case "consumer.session.timeout.ms":
				millis(&t.Session, setting.Value)
			case "consumer.heartbeat.interval.ms":
				millis(&t.Heartbeat, setting.Value)
			}
		}
	}
	return t, nil
}

// millis sets d to a value that the broker gave, if it did.
func millis(d *time.Duration, value *string) {
	if value == nil {
		return
	}
	if n, err := strconv.ParseInt(*value, 10, 64); err == nil {
		*d = time.Duration(n) * time.Millisecond
	}
}
