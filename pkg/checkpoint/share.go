package checkpoint

import (
	"encoding/base64"
	"fmt"
	"math/bits"
)

// DefaultLimit is the number of characters of metadata that a broker accepts
// unless its offset.metadata.max.bytes says otherwise.
const DefaultLimit = 4096

const (
	// fixedSize bounds what is not a lane's: format, committed offset, topic id,
	// leader epoch, number of lanes, CRC.
	fixedSize = 1 + 9 + 16 + 5 + 2 + 4
	// laneSize bounds what a lane needs besides its name, its replay and its runs:
	// the length of the name, next, control position, no replay, number of runs.
	laneSize = 2 + 10 + 9 + 1 + 2
	// replaySize bounds what a replay needs besides its command id: mode, end and former
	// position.
	replaySize = 1 + 10 + 10
	// minShare is the least share with which a lane is worth running: 16 attempts
	// above its lowest offset, at 4 bytes each. It is also more than the replay
	// of a lane takes away, if its command id has 36 characters (a UUID).
	minShare = 64
)

// Share is the number of bytes that each of the lanes may use for its runs, so
// that all of them fit in limit characters whatever their cursors become. It
// shrinks when a lane is added or a replay starts. It is negative if not even
// the names fit.
func Share(limit int, lanes []Lane) int {
	if len(lanes) == 0 {
		return 0
	}
	free := base64.RawURLEncoding.DecodedLen(limit) - fixedSize
	for _, l := range lanes {
		free -= laneSize + len(l.Name)
		if l.Replay != nil {
			free -= replaySize + len(l.Replay.CommandID)
		}
	}
	if free < 0 {
		return -1
	}
	return free / len(lanes)
}

// Check reports whether the targets with these names fit in one checkpoint of
// the default limit with room to work in; its error says how many would.
func Check(names []string) error {
	lanes := make([]Lane, len(names))
	for i, name := range names {
		lanes[i].Name = name
	}
	if len(lanes) == 0 || Share(DefaultLimit, lanes) >= minShare {
		return nil
	}
	fit := len(lanes) - 1
	for fit > 0 && Share(DefaultLimit, lanes[:fit]) < minShare {
		fit--
	}
	return fmt.Errorf("fit %d targets in %d characters of commit metadata: the first %d fit; use shorter names or a second group",
		len(names), DefaultLimit, fit)
}

// Admits reports whether a first attempt at offset may start: whether its share
// of bytes can record the present runs and one more for each attempt in flight
// and for this one, in whatever order they settle. The lowest offset is always
// admitted, since its settling adds no run. Offered is the highest offset that
// the lane was offered. It answers in constant time.
func (c *Cursor) Admits(offset, offered int64, inFlight, share int) bool {
	// One more run splits a length of unsettled offsets in two and puts a length
	// of settled ones between, so it adds two numbers, neither above the span.
	run := 2 * uvarintLen(max(offset, offered)-c.next)
	return offset == c.next || c.size+(inFlight+1)*run <= share
}

// uvarintLen is the number of bytes of n as a uvarint. n must not be negative.
func uvarintLen(n int64) int { return (bits.Len64(uint64(n)|1) + 6) / 7 }
