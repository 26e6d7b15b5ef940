//go:build synctests

package simulation

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// take carries out one step.
func (w *service) take(t disturbance) {
	w.mu.Lock()
	w.note("-- %v %d n=%d lasts=%v", t.do, t.who, t.n, t.lasts)
	w.mu.Unlock()
	switch t.do {
	case publishing:
		w.writes <- func() { w.publish(t.who, t.n) }
	case aborting:
		w.writes <- func() { w.abort(t.who, t.n) }
	case retaining:
		w.retain(t.who, t.n)
	case electing:
		_ = w.cluster.MoveTopicPartition(topic, int32(t.who), int32(t.n%nodes)) // unless the node is away
	case moodiness:
		w.mu.Lock()
		w.systems[t.who].manner = manner(t.n)
		w.mu.Unlock()
		w.in(t.lasts*2, func() { w.calm(t.who) })
	case crashing, restarting:
		if m := w.members[t.who]; m != nil {
			m.end(t.do == restarting)
			w.in(t.lasts, func() { w.launch(t.who) })
		}
	case stalling, cutting:
		w.part(t)
	case leaving:
		if w.away < 0 && w.cluster.RemoveNode(int32(t.who)) == nil {
			w.away = int32(t.who)
			for _, l := range w.links { // which the cluster leaves open
				l.hangUp(w.brokers[t.who])
			}
			w.in(t.lasts, w.rejoin)
		}
	case rehashing:
		w.cluster.RehashCoordinators()
	case faulting:
		f := kinds[t.n%len(kinds)]
		n := 0
		all := w.oneIn(2, forFault, t.n, int(t.after))
		until := time.Now().Add(t.lasts)
		f.When = func(kmsg.Request) bool {
			n++
			return (n == 1 || time.Now().Before(until)) && (all || w.oneIn(2, forFault, t.n, n))
		}
		f.Count = -1
		w.faults = append(w.faults, w.cluster.Fault(f))
	case blinding:
		w.mu.Lock()
		w.registryBack = time.Now().Add(t.lasts)
		w.mu.Unlock()
	case troubles:
	}
}

// part stalls or cuts the link of a member for a while.
func (w *service) part(t disturbance) {
	m := w.members[t.who]
	if m == nil {
		return
	}
	w.mu.Lock()
	free := m.silent.IsZero()
	if free {
		m.silent = time.Now()
	}
	w.mu.Unlock()
	if !free {
		return
	}
	if t.do == stalling {
		m.link.stall()
	} else {
		m.link.cut()
	}
	w.in(t.lasts, func() { w.mend(m) })
}

func (w *service) mend(m *member) {
	w.mu.Lock()
	m.silent = time.Time{}
	w.mu.Unlock()
	m.link.mend()
}

func (w *service) rejoin() {
	if w.away >= 0 {
		if _, _, err := w.cluster.AddNode(w.away, int(9092+w.away)); err != nil {
			panic(err)
		}
		w.away = -1
	}
}

// retain moves the start of a log up.
func (w *service) retain(partition, percent int) {
	info := w.cluster.GroupInfo(group)
	l := w.logs[partition]
	end := w.cluster.PartitionInfo(topic, int32(partition)).HighWatermark
	start := l.start + (end-l.start)*int64(percent)/200
	w.mu.Lock()
	committed := false
	if info != nil {
		_, committed = info.Commits[topic][int32(partition)]
	}
	if !committed {
		for _, ls := range w.check.ledgers {
			ls[partition].owed = start // a group without a commit begins at the start of the log
		}
	}
	l.start = start
	w.mu.Unlock()
	if err := w.cluster.DeleteRecords(topic, int32(partition), start); err != nil {
		panic(err)
	}
}
