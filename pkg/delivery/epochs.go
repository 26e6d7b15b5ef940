package delivery

import (
	"cmp"
	"slices"
	"sync"
)

// epochs knows which leader wrote which part of a log, as far as it was read. An
// offset belongs to one leader epoch and epochs never fall, so a record that
// contradicts this lies in another log than the records before it: the log was cut
// and written anew (KIP-101, KIP-320).
type epochs struct {
	// mu guards ends, between the feeds of a partition and its checkpoints.
	mu   sync.Mutex
	ends []epochEnd // ascending in both
}

// epochEnd says that no offset up to last was written under a later epoch.
type epochEnd struct {
	epoch int32
	last  int64
}

// see notes the epoch of a record. It returns false, and notes nothing, if the
// record contradicts an earlier one. An unknown epoch, -1, contradicts nothing.
func (e *epochs) see(epoch int32, offset int64) bool {
	if epoch < 0 {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	i, found := slices.BinarySearchFunc(e.ends, epoch, func(end epochEnd, epoch int32) int { return cmp.Compare(end.epoch, epoch) })
	if !found {
		e.ends = slices.Insert(e.ends, i, epochEnd{epoch, offset})
	}
	if i > 0 && e.ends[i-1].last >= offset || i+1 < len(e.ends) && e.ends[i+1].last < offset {
		if !found {
			e.ends = slices.Delete(e.ends, i, i+1)
		}
		return false
	}
	e.ends[i].last = max(e.ends[i].last, offset)
	return true
}

// at returns an epoch that is not before the one of the offset, and under which the
// log still held it; -1 if none is known.
func (e *epochs) at(offset int64) int32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, end := range e.ends {
		if end.last >= offset {
			return end.epoch
		}
	}
	return -1
}
