package checkpoint

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// format is the number of the format that Encode writes.
const format = 1

// castagnoli is the table of CRC-32C (RFC 3720, appendix B.4).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrTooLarge reports that a checkpoint does not fit even without any run.
var ErrTooLarge = errors.New("checkpoint too large")

// Encode returns the checkpoint as at most limit characters of metadata. If it
// does not fit, lanes whose runs exceed their share lose the highest of them, and
// are named in cut: after a crash their targets get those deliveries again. The
// cursors keep what they know. Encode returns [ErrTooLarge] if there are more
// lanes than fit; it refuses two lanes of one name, and empty names and command ids.
func Encode(cp *Checkpoint, limit int) (meta string, cut []string, err error) {
	lanes := slices.SortedFunc(slices.Values(cp.Lanes), func(a, b Lane) int { return cmp.Compare(a.Name, b.Name) })
	if err := distinct(lanes); err != nil {
		return "", nil, fmt.Errorf("encode checkpoint: %w", err)
	}
	size := base64.RawURLEncoding.DecodedLen(limit)
	raw := appendCheckpoint(nil, cp, lanes, func(c *Cursor) int { return len(c.runs) })
	if len(raw) > size {
		share := Share(limit, lanes)
		raw = appendCheckpoint(raw[:0], cp, lanes, func(c *Cursor) int { return c.within(share) })
		for _, l := range lanes {
			if l.Cursor.within(share) < len(l.Cursor.runs) {
				cut = append(cut, l.Name)
			}
		}
	}
	if len(raw) > size {
		return "", nil, fmt.Errorf("encode %d lanes in %d characters: %w", len(lanes), limit, ErrTooLarge)
	}
	return base64.RawURLEncoding.EncodeToString(raw), cut, nil
}

// distinct refuses names that Decode would.
func distinct(sorted []Lane) error {
	last := ""
	for _, l := range sorted {
		if l.Name <= last {
			return fmt.Errorf("lane %q is empty or doubled", l.Name)
		}
		if l.Replay != nil && l.Replay.CommandID == "" {
			return fmt.Errorf("lane %q: replay without command id", l.Name)
		}
		last = l.Name
	}
	return nil
}

// within is the number of runs, from the lowest, that fit in share bytes.
func (c *Cursor) within(share int) int {
	if c.size <= share {
		return len(c.runs)
	}
	n, size := 0, 0
	for n < len(c.runs) {
		if size += c.cost(n, n+1); size > share {
			break
		}
		n++
	}
	return n
}

func appendCheckpoint(b []byte, cp *Checkpoint, lanes []Lane, runs func(*Cursor) int) []byte {
	b = append(b, format)
	b = binary.AppendUvarint(b, uint64(cp.Committed))
	b = append(b, cp.TopicID[:]...)
	b = binary.AppendVarint(b, int64(cp.LeaderEpoch))
	b = binary.AppendUvarint(b, uint64(len(lanes)))
	for _, l := range lanes {
		b = appendLane(b, &l, cp.Committed, runs(l.Cursor))
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendLane(b []byte, l *Lane, committed int64, runs int) []byte {
	b = appendText(b, l.Name)
	b = binary.AppendVarint(b, l.Cursor.next-committed)
	b = binary.AppendUvarint(b, uint64(l.Control+1))
	if r := l.Replay; r == nil {
		b = append(b, 0)
	} else {
		b = append(appendText(b, r.CommandID), byte(r.Mode))
		b = binary.AppendVarint(b, r.End-committed)
		b = binary.AppendVarint(b, r.Former-committed)
	}
	b = binary.AppendUvarint(b, uint64(runs))
	below := l.Cursor.next
	for _, r := range l.Cursor.runs[:runs] {
		b = binary.AppendUvarint(b, uint64(r.From-below))
		b = binary.AppendUvarint(b, uint64(r.To-r.From))
		below = r.To
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
