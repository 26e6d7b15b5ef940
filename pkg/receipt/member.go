package receipt

import (
	"encoding/json"
	"fmt"
	"time"
)

// A member tells how it is each Interval. One that has not for Gone is regarded as
// gone; one that stops in order takes its record away.
const (
	Interval = 5 * time.Second
	Gone     = 15 * time.Second
)

// Member is how one member of the group is.
type Member struct {
	// ID is the member's own, new with each start: it is the record's key.
	ID string `json:"id"`
	// Time is when the rest was true.
	Time    time.Time `json:"time"`
	Host    string    `json:"host"`
	Version string    `json:"version"`
	// Partitions are those assigned to the member.
	Partitions []Partition      `json:"partitions"`
	Targets    map[string]State `json:"targets"`
}

// Partition is one of a source topic.
type Partition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

// State is one target in one member.
type State struct {
	// Breaker is "closed", "open" or "half-open".
	Breaker string `json:"breaker"`
	// Held reports that the target is held, because too many of its last keys failed
	// for good.
	Held bool `json:"held"`
	// Failure is the last one, bounded by [MaxText], while the breaker is not closed or
	// the target is held.
	Failure string `json:"failure,omitempty"`
	// Paused reports that an operator has paused the target.
	Paused bool `json:"paused"`
	// OldestSeconds is the age of the oldest event that has not settled, 0 if all has.
	OldestSeconds float64 `json:"oldest_waiting_seconds"`
	// InFlight is the number of attempts under way, Lag that of offsets between the
	// member's cursors and the ends of its partitions.
	InFlight int   `json:"in_flight"`
	Lag      int64 `json:"lag"`
	// Settled counts what has settled since the member started, by outcome.
	Settled map[string]int64 `json:"settled"`
	// Latency is the time from an event's timestamp until it settled.
	Latency Histogram `json:"latency"`
}

// Histogram counts since the member started. Counts has one more entry than Bounds,
// for what is above the last; counts of members with the same bounds may be added.
type Histogram struct {
	// Bounds are upper bounds in seconds, ascending, inclusive.
	Bounds []float64 `json:"bounds_seconds"`
	Counts []int64   `json:"counts"`
}

// MemberKey is the key of the record of the member with the given id.
func MemberKey(id string) []byte { return []byte(string(KindMember) + "/" + id) }

// Encode returns the record that holds m.
func (m *Member) Encode() (key, value []byte, err error) {
	if value, err = json.Marshal(m); err != nil {
		return nil, nil, fmt.Errorf("write member %s: %w", m.ID, err)
	}
	return MemberKey(m.ID), value, nil
}

// DecodeMember reads the value of a member/ record.
func DecodeMember(value []byte) (*Member, error) {
	m := &Member{}
	if err := json.Unmarshal(value, m); err != nil {
		return nil, fmt.Errorf("read member: %w", err)
	}
	for target, s := range m.Targets {
		if len(s.Latency.Counts) > 0 && len(s.Latency.Counts) != len(s.Latency.Bounds)+1 {
			return nil, fmt.Errorf("read member %s: target %s: %d counts for %d bounds",
				m.ID, target, len(s.Latency.Counts), len(s.Latency.Bounds))
		}
	}
	return m, nil
}

// Alive reports whether m was there at the given time.
func (m *Member) Alive(now time.Time) bool { return now.Sub(m.Time) <= Gone }
