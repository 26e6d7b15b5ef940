package checkpoint

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"

	"github.com/hms-sme/policysync/pkg/event"
)

// What Decode answers to metadata that it cannot use. In each case all lanes
// start at the committed offset, which loses nothing.
var (
	// ErrEmpty: there is no checkpoint, as after `kafka-consumer-groups --reset-offsets`.
	ErrEmpty = errors.New("no checkpoint")
	// ErrDamaged: the bytes are no checkpoint, or belong to another commit.
	ErrDamaged = errors.New("damaged checkpoint")
	// ErrUnknownFormat: a whole checkpoint, in a format that this version cannot read.
	ErrUnknownFormat = errors.New("unknown checkpoint format")
)

// MismatchError reports a checkpoint that was made for another commit: a tool
// copied it to another offset, or the topic was created again. It counts as damaged.
type MismatchError struct {
	// Field is "committed offset" or "topic id".
	Field string
	// Checkpoint is what the checkpoint says, Commit what the commit says.
	Checkpoint, Commit string
}

const fieldTopicID = "topic id"

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s %q of the checkpoint is not the commit's %q", e.Field, e.Checkpoint, e.Commit)
}

// OtherTopic reports whether the commit is that of the checkpoint but for the topic
// id: the topic was deleted and created again, and the offset is of the former one.
func (e *MismatchError) OtherTopic() bool { return e.Field == fieldTopicID }

// Is makes a mismatch count as [ErrDamaged].
func (e *MismatchError) Is(target error) bool { return target == ErrDamaged }

// Decode reads the metadata of the commit of an offset of a topic. Its errors are
// [ErrEmpty], [ErrDamaged], a [*MismatchError] and [ErrUnknownFormat].
func Decode(meta string, committed int64, topicID event.TopicID) (*Checkpoint, error) {
	if meta == "" {
		return nil, ErrEmpty
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(meta)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	cp, err := parse(raw)
	if err != nil {
		return nil, err
	}
	if cp.Committed != committed {
		return nil, &MismatchError{"committed offset", strconv.FormatInt(cp.Committed, 10), strconv.FormatInt(committed, 10)}
	}
	if cp.TopicID != topicID {
		return nil, &MismatchError{fieldTopicID, cp.TopicID.String(), topicID.String()}
	}
	return cp, nil
}

func parse(raw []byte) (*Checkpoint, error) {
	body := len(raw) - crc32.Size
	if body < 1 || crc32.Checksum(raw[:body], castagnoli) != binary.BigEndian.Uint32(raw[body:]) {
		return nil, fmt.Errorf("%w: wrong CRC", ErrDamaged)
	}
	if raw[0] != format {
		return nil, fmt.Errorf("%w: %d", ErrUnknownFormat, raw[0])
	}
	p := parser{rest: raw[1:body]}
	cp := p.checkpoint()
	if p.bad || len(p.rest) > 0 {
		return nil, fmt.Errorf("%w: wrong layout at byte %d", ErrDamaged, body-len(p.rest))
	}
	return cp, nil
}

// parser reads the layout from rest. Once bad, it reads only zeros.
type parser struct {
	rest []byte
	bad  bool
}

func (p *parser) checkpoint() *Checkpoint {
	cp := &Checkpoint{Committed: p.uvarint()}
	copy(cp.TopicID[:], p.take(len(cp.TopicID)))
	epoch := p.varint()
	p.require(epoch >= -1 && epoch <= math.MaxInt32)
	cp.LeaderEpoch = int32(epoch)
	last := ""
	for n := p.uvarint(); n > 0 && !p.bad; n-- {
		l := p.lane(cp.Committed)
		p.require(l.Name > last)
		last = l.Name
		cp.Lanes = append(cp.Lanes, l)
	}
	return cp
}

func (p *parser) lane(committed int64) Lane {
	l := Lane{Name: p.text()}
	next := p.offset(committed)
	l.Control = p.uvarint() - 1
	if id := p.text(); id != "" {
		l.Replay = &Replay{CommandID: id, Mode: ReplayMode(p.byte()), End: p.offset(committed), Former: p.offset(committed)}
		p.require(l.Replay.Mode == ReplayNewest || l.Replay.Mode == ReplayEvery)
	}
	l.Cursor = New(next)
	for n := p.uvarint(); n > 0 && !p.bad; n-- {
		from := p.length(next)
		next = p.length(from)
		l.Cursor.runs = append(l.Cursor.runs, Run{From: from, To: next})
	}
	l.Cursor.size = l.Cursor.cost(0, len(l.Cursor.runs))
	return l
}

// length reads a length of at least 1 and returns base plus it.
func (p *parser) length(base int64) int64 {
	n := p.uvarint()
	p.require(n >= 1 && n <= math.MaxInt64-base)
	return base + n
}

// offset reads the signed distance of an offset from committed.
func (p *parser) offset(committed int64) int64 {
	d := p.varint()
	p.require(d >= -committed && d <= math.MaxInt64-committed)
	return committed + d
}

// uvarint reads a uvarint that fits in an int64, in its shortest form.
func (p *parser) uvarint() int64 {
	n, size := binary.Uvarint(p.rest)
	p.require(size > 0 && n <= math.MaxInt64)
	p.shortest(size)
	return int64(n)
}

// varint reads a zigzag varint in its shortest form.
func (p *parser) varint() int64 {
	n, size := binary.Varint(p.rest)
	p.require(size > 0)
	p.shortest(size)
	return n
}

// shortest skips a varint of size bytes. A last byte of zero adds nothing to it.
func (p *parser) shortest(size int) {
	b := p.take(max(size, 0))
	p.require(len(b) == 1 || len(b) > 1 && b[len(b)-1] != 0)
}

func (p *parser) text() string { return string(p.take(int(p.uvarint()))) }

func (p *parser) byte() byte {
	if b := p.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

// take returns the next n bytes, or none if there are fewer.
func (p *parser) take(n int) []byte {
	p.require(n >= 0 && n <= len(p.rest))
	if p.bad {
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) require(ok bool) { p.bad = p.bad || !ok }
