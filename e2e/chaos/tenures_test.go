//go:build e2e

package chaos

import (
	"bufio"
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// tenure is the time for which one process had a partition, by its own log: from the
// line that says so, which it writes when it knows the committed cursors, to the one
// that says that it has let go.
type tenure struct {
	process   string
	partition int32
	// generation is the group's. A member that stood still may say only after the next
	// one began that it has the partition.
	generation int32
	from, to   time.Time // to is never if it did not come to let go
	drained    bool      // it let go by itself, having committed
	refused    bool      // but its last commit was refused
}

// orderly reports whether the process had committed all that it had settled when it
// let go.
func (x *tenure) orderly() bool { return x.drained && !x.refused }

// readTenures reads the logs of all processes. Those of one partition are in the order
// in which the group gave it to them.
func (w *world) readTenures() map[int32][]*tenure {
	w.t.Helper()
	logs, err := filepath.Glob(filepath.Join(w.dir, "*.log"))
	require.NoError(w.t, err)
	all := map[int32][]*tenure{}
	for _, name := range logs {
		for _, x := range w.readLog(name) {
			all[x.partition] = append(all[x.partition], x)
		}
	}
	for _, xs := range all {
		slices.SortFunc(xs, func(a, b *tenure) int {
			return cmp.Or(cmp.Compare(a.generation, b.generation), a.from.Compare(b.from))
		})
	}
	return all
}

func (w *world) readLog(name string) (all []*tenure) {
	w.t.Helper()
	f, err := os.Open(name)
	require.NoError(w.t, err)
	defer f.Close()
	live, refused := map[int32]*tenure{}, map[int32]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Time       time.Time
			Msg        string
			Partition  int32
			Generation int32
			Committed  any // an offset, or whether it did
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue // a stack, or cut short by kill -9
		}
		x := live[line.Partition]
		switch line.Msg {
		case "partition assigned":
			if x != nil { // begun again, since the log is another
				x.to = line.Time
			}
			x = &tenure{
				process: strings.TrimSuffix(filepath.Base(name), ".log"), partition: line.Partition,
				generation: line.Generation, from: line.Time, to: never,
			}
			live[line.Partition], refused[line.Partition] = x, false
			all = append(all, x)
		case "partition released":
			if x != nil {
				x.to, x.drained, x.refused = line.Time, line.Committed == true, refused[line.Partition]
				delete(live, line.Partition)
			}
		case "commit offset; each commit repeats it until it succeeds":
			refused[line.Partition] = true
		case "offset is committed again":
			refused[line.Partition] = false
		}
	}
	require.NoError(w.t, lines.Err())
	return all
}

// tenure is the one in which a request was made. Whoever wrote it was not done with
// the partition by then, save for what took its time on the way; or had it again already.
func (l *lane) tenure(a arrival) *tenure {
	var last *tenure
	for _, x := range l.tenures {
		switch {
		case x.process != a.member:
		case last == nil, !last.to.Add(onItsWay).After(a.begun), !x.from.After(a.begun):
			last = x
		}
	}
	if last == nil { // it began to push before it said so, and was killed at once
		return &tenure{process: a.member, partition: l.partition, from: a.begun, to: never}
	}
	return last
}

// successor is the tenure that came after another; nil if none did.
func (l *lane) successor(x *tenure) *tenure {
	if i := slices.Index(l.tenures, x); i >= 0 && i+1 < len(l.tenures) {
		return l.tenures[i+1]
	}
	return nil
}

// onItsWay is how long a request that was sent may take to be seen by the target, or
// an answer to be seen by the member, on a machine with much to do.
const onItsWay = 100 * time.Millisecond

// halted reports whether the process that made a request was dead or stopped at a time.
func (l *lane) halted(process string, at time.Time) bool {
	return slices.ContainsFunc(l.incidents, func(i *incident) bool {
		return i.process == process && !at.Before(i.from) && (i.kind == kill || i.kind == freeze && at.Before(i.to))
	})
}
