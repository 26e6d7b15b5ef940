// Package checkpoint keeps, per partition, how far each target has come, and
// turns that into the metadata string of one OffsetCommit and back.
//
// A [Cursor] is the ledger of one lane: the lowest offset that has not settled,
// and the runs of settled offsets above it. A [Checkpoint] is the cursors of all
// lanes of a partition. The package is pure: it knows no Kafka client and no
// clock, starts nothing and locks nothing. Which offset is committed, what a
// lane does with its cursor and who may commit are for its callers to say.
//
// # Format
//
// The metadata is unpadded base64 (RFC 4648, section 5, the URL alphabet) of
//
//	byte     format: 1
//	uvarint  committed offset, the one of the commit that carries this
//	16 bytes topic id
//	varint   leader epoch of the highest settled record, -1 if unknown
//	uvarint  number of lanes, then for each of them, in ascending order of names
//	           uvarint  length of the name, then the name
//	           varint   next offset - committed offset
//	           uvarint  control position + 1, 0 if there is none
//	           uvarint  length of the replay's command id, 0 if none is going on, else
//	                      bytes   command id
//	                      byte    mode
//	                      varint  end - committed offset
//	                      varint  former - committed offset
//	           uvarint  number of runs, then for each of them, going up from next
//	                      uvarint  unsettled offsets below it, at least 1
//	                      uvarint  settled offsets in it, at least 1
//	4 bytes  CRC-32C of everything before, big-endian
//
// Varints are those of encoding/binary (varint is the zigzag kind) in their
// shortest form, so that one checkpoint has one encoding. Every later format
// begins with its number and ends with the same CRC.
package checkpoint

import "github.com/hms-sme/policysync/pkg/event"

// Checkpoint is the progress of all targets on one partition.
type Checkpoint struct {
	TopicID event.TopicID
	// Committed is the offset of the commit that carries the checkpoint.
	Committed int64
	// LeaderEpoch is that of the highest settled record, -1 if unknown.
	LeaderEpoch int32
	// Lanes have distinct names. Decode gives them in ascending order of names;
	// Encode takes them in any.
	Lanes []Lane
}

// Lane is one target's part of a checkpoint.
type Lane struct {
	// Name is the target's.
	Name   string
	Cursor *Cursor
	// Control is the lane's position in the control topic: the next offset to
	// obey; -1 stands for the topic's end.
	Control int64
	// Replay is nil unless a replay is going on.
	Replay *Replay
}

// Replay is what a lane must remember of a replay until it is over.
type Replay struct {
	// CommandID names the command that asked for it; it is never empty.
	CommandID string
	Mode      ReplayMode
	// End is the offset at which the replay is over: the lane's former position.
	End int64
	// Former is the offset below which all had settled before the replay. Cancelled, the
	// replay goes on from there.
	Former int64
}

// ReplayMode says which versions a replay pushes.
type ReplayMode byte

// The replay modes. Their values are part of the format.
const (
	// ReplayNewest pushes the newest version of each key that the window holds.
	ReplayNewest ReplayMode = 1
	// ReplayEvery pushes each version.
	ReplayEvery ReplayMode = 2
)
