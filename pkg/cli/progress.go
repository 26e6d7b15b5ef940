package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// gauge tells how far long work is: by a bar on a terminal, else by a line whenever that
// has changed.
type gauge struct {
	out      io.Writer
	terminal bool
	last     string
}

func newGauge(c *cobra.Command) *gauge {
	return &gauge{out: os.Stderr, terminal: terminal(os.Stderr)}
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

// records is show for what reads records.
func (g *gauge) records(read, all int64) {
	if g.terminal {
		g.show(read, all, fmt.Sprintf("%d of %d records", read, all))
	}
}

// end leaves the bar's line.
func (g *gauge) end() {
	if g.terminal && g.last != "" {
		fmt.Fprintln(g.out)
	}
}

// followEvery is how often a command looks how far the members are.
const followEvery = 500 * time.Millisecond
