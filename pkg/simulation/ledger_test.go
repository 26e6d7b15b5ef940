package simulation

import (
	"maps"
	"time"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/event"
)

// truth is what is known from outside of one offset for one target. The service has
// no part in it.
type truth struct {
	acked    bool // a push was answered well, to a process that lived
	lettered bool // its dead letter was acknowledged
	reported bool // it was reported as lost before delivery
	denied   bool // the target answered that it never will take it
	split    bool // its batch was split: it lands when all parts of the batch have
	applied  bool // by a push whose outcome was learnt
	excused  bool // the version that replaced it was cut away before anyone could notice
	tries    int
	failures int
}

// ledger is the truth of one target on one partition.
type ledger struct {
	offsets []truth
	// checked: a commit has claimed all below, and rightly so.
	checked int64
	// owed is where the target began: it is not owed what lies below.
	owed int64
	// first and last are the highest offset of each key that was applied, and the one
	// that was applied last, by pushes whose outcome was learnt.
	first, last map[string]int64
}

func (l *ledger) at(offset int64) *truth {
	for int64(len(l.offsets)) <= offset {
		l.offsets = append(l.offsets, truth{})
	}
	return &l.offsets[offset]
}

func newLedger() *ledger {
	return &ledger{first: map[string]int64{}, last: map[string]int64{}}
}

// cut forgets what lies at an offset of the log and above.
func (l *ledger) cut(log *partitionLog, at int64) {
	l.offsets = l.offsets[:min(at, int64(len(l.offsets)))]
	l.checked, l.owed = min(l.checked, at), min(l.owed, at)
	maps.DeleteFunc(l.last, func(_ string, offset int64) bool { return offset >= at })
	clear(l.first)
	for offset := range int64(len(l.offsets)) {
		if r := log.written[offset]; r != nil && r.Key != nil && l.offsets[offset].applied {
			l.first[string(r.Key)] = offset
		}
	}
}

// tenure is one assignment of a partition to a process, as the checker sees it.
type tenure struct {
	seat    *seat
	fence   int
	topicID event.TopicID
	cuts    int             // of the log that it knows of
	highest int64           // all that had settled when it began is below
	targets map[string]bool // of the process's config
	given   *checkpoint.Checkpoint
	drained time.Time // when the drain began, which only the splits of a batch outlive
	over    bool      // the partition was let go: nothing may start any more
	flying  map[flight]int64
	newest  map[flight]int64 // the highest offset of each key that it knows to be settled
	acked   map[string][]learnt
}

type flight struct{ target, key string }

// learnt is a push that the process knows to have succeeded.
type learnt struct {
	offset int64
	at     time.Time
}

type place struct {
	partition int
	offset    int64
}
