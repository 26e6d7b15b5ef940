package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// bar tells how far long work is: by a bar on a terminal, else by a line whenever that
// has changed.
type bar struct {
	out      io.Writer
	terminal bool
	last     string
}

func newBar(c *cobra.Command) *bar {
	return &bar{out: c.ErrOrStderr(), terminal: terminal(os.Stderr)}
}

// show prints that so many of all are done.
func (b *bar) show(done, all int64, text string) {
	const width = 30
	line := text
	if b.terminal {
		full := width
		if all > 0 {
			full = int(min(done, all) * width / all)
		}
		line = fmt.Sprintf("[%s%s] %s", strings.Repeat("█", full), strings.Repeat("·", width-full), text)
	}
	if line == b.last {
		return
	}
	b.last = line
	if b.terminal {
		fmt.Fprintf(b.out, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(b.out, line)
	}
}

// end leaves the bar's line.
func (b *bar) end() {
	if b.terminal && b.last != "" {
		fmt.Fprintln(b.out)
	}
}

// followEvery is how often a command looks how far the members are.
const followEvery = 500 * time.Millisecond
