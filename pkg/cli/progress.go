package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// gauge tells how far long work is: by a bar on a terminal, else by a line whenever that
// has changed.
type gauge struct {
	out      io.Writer
	terminal bool
	last     string
	looked   time.Time
}

func newGauge() *gauge {
	return &gauge{out: os.Stderr, terminal: terminal(os.Stderr), looked: time.Now()}
}

// show prints that so many of all are done.
func (g *gauge) show(done, all int64, text string) {
	line := text
	if g.terminal {
		line = bar(done, all) + " " + text
	}
	if line == g.last {
		return
	}
	g.last = line
	if g.terminal {
		fmt.Fprintf(g.out, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(g.out, line)
	}
}

// records is show for what reads records, which changes all the time: it shows five times
// a second on a terminal, else every ten seconds.
func (g *gauge) records(read, all int64) { g.pass("", read, all) }

// pass is records for one of several passes.
func (g *gauge) pass(which string, read, all int64) {
	every := 10 * time.Second
	if g.terminal {
		every = 200 * time.Millisecond
	}
	if time.Since(g.looked) >= every {
		g.looked = time.Now()
		g.show(read, all, fmt.Sprintf("%s%d of %d records", which, read, all))
	}
}

// end leaves the bar's line.
func (g *gauge) end() {
	if g.terminal && g.last != "" {
		fmt.Fprintln(g.out)
		g.last = ""
	}
}

// bar is a part of a whole, drawn.
func bar(part, whole int64) string {
	const width = 30
	full := int(width * min(part, whole) / max(whole, 1))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}

// followEvery is how often a command looks how far the members are.
const followEvery = 500 * time.Millisecond
