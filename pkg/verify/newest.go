// Package verify says which record of the source is the newest version of each key,
// so that a target can be compared with it. It is pure: reading the source and the
// target, and pushing again, is for package app.
package verify

import (
	"crypto/sha256"
	"slices"

	"github.com/hms-sme/policysync/pkg/event"
)

// Hash stands for a key or a name: 16 bytes, whatever its length.
type Hash [16]byte

// HashOf returns the hash of a text.
func HashOf(text string) Hash {
	sum := sha256.Sum256([]byte(text))
	return Hash(sum[:16])
}

// Place is a partition of a topic.
type Place struct {
	Topic     string
	Partition int32
}

// Newest keeps, for each key, where its newest version lies: some 100 bytes a key.
type Newest struct {
	keys map[Hash]version
	// byOffset tells that the target's versions are offsets.
	byOffset bool
}

type version struct {
	place   Place
	offset  int64
	millis  int64
	value   int64
	ordered bool // value says what is newest
}

// NewNewest returns one that has seen nothing.
func NewNewest(byOffset bool) *Newest {
	return &Newest{keys: map[Hash]version{}, byOffset: byOffset}
}

// Add sees the next event of a partition that is for the target. Versions tell which
// of two is newer; where one has none, the offset does, and between partitions the
// record's timestamp.
func (n *Newest) Add(ev *event.Event) {
	v := version{
		place: Place{ev.Topic, ev.Partition}, offset: ev.Offset, millis: ev.Timestamp.UnixMilli(),
		value: ev.Version, ordered: ev.HasVersion && !n.byOffset,
	}
	h := HashOf(ev.Key)
	if old, seen := n.keys[h]; !seen || v.replaces(old) {
		n.keys[h] = v
	}
}

func (v version) replaces(old version) bool {
	switch {
	case v.ordered && old.ordered:
		return v.value >= old.value
	case v.place == old.place:
		return true
	}
	return v.millis >= old.millis
}

// Len is the number of keys.
func (n *Newest) Len() int { return len(n.keys) }

// Offsets are the offsets of the newest versions, by partition, in order.
func (n *Newest) Offsets() map[Place][]int64 {
	all := map[Place][]int64{}
	for _, v := range n.keys {
		all[v.place] = append(all[v.place], v.offset)
	}
	for _, offsets := range all {
		slices.Sort(offsets)
	}
	return all
}
