package verify

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/event"
)

func at(key string, partition int32, offset, version int64) *event.Event {
	return &event.Event{
		Record: &event.Record{
			Position: event.Position{Topic: "policies", Partition: partition, Offset: offset}, Value: []byte{1},
			Timestamp: time.UnixMilli(1000 * offset),
		},
		Key: key, HasKey: true, Version: version, HasVersion: version > 0,
	}
}

// The newest is what a target with a guard ends up with, in whatever order partitions
// are read.
func TestNewest(t *testing.T) {
	t.Parallel()
	policies := func(n int32) Place { return Place{"policies", n} }
	for name, tc := range map[string]struct {
		byOffset bool
		events   []*event.Event
		want     map[Place][]int64
	}{
		"the highest version":         {false, []*event.Event{at("a", 0, 1, 7), at("a", 0, 2, 6)}, map[Place][]int64{policies(0): {1}}},
		"the last of one version":     {false, []*event.Event{at("a", 0, 1, 7), at("a", 0, 2, 7)}, map[Place][]int64{policies(0): {2}}},
		"the last, if offsets count":  {true, []*event.Event{at("a", 0, 1, 7), at("a", 0, 2, 6)}, map[Place][]int64{policies(0): {2}}},
		"a tombstone, which has none": {false, []*event.Event{at("a", 0, 1, 7), at("a", 0, 2, 0)}, map[Place][]int64{policies(0): {2}}},
		"across partitions":           {false, []*event.Event{at("a", 1, 9, 7), at("a", 0, 2, 8)}, map[Place][]int64{policies(0): {2}}},
		"a tombstone elsewhere":       {false, []*event.Event{at("a", 1, 9, 0), at("a", 0, 2, 8)}, map[Place][]int64{policies(1): {9}}},
		"of each key": {
			false,
			[]*event.Event{at("c", 0, 1, 1), at("a", 0, 2, 1), at("b", 1, 1, 1), at("c", 0, 5, 2)},
			map[Place][]int64{policies(0): {2, 5}, policies(1): {1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := NewNewest(tc.byOffset)
			for _, e := range tc.events {
				n.Add(e)
			}
			require.Equal(t, tc.want, n.Offsets())
		})
	}
}
