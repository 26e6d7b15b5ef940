package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Screen prints the story. On a terminal the table of targets is redrawn in place;
// elsewhere a line a second says the same.
type Screen struct {
	Out      io.Writer
	Terminal bool
	began    time.Time
	last     time.Time
	drawn    int // lines of the table that stand above the cursor
}

// row is one target on the screen.
type row struct {
	target  string
	pushed  int64
	breaker string
	oldest  time.Duration
}

// Say prints a line of the story.
func (s *Screen) Say(format string, args ...any) {
	if s.began.IsZero() {
		s.began = time.Now()
	}
	s.drawn = 0
	fmt.Fprintf(s.Out, "%s\n", s.paint("1", fmt.Sprintf("\n%5.1fs  ", time.Since(s.began).Seconds())+fmt.Sprintf(format, args...)))
}

// look shows the targets, unless it just did; now shows them in any case.
func (s *Screen) look(published int, rows []row, now bool) {
	every := time.Second
	if s.Terminal {
		every = 100 * time.Millisecond
	}
	if !now && time.Since(s.last) < every {
		return
	}
	s.last = time.Now()
	if !s.Terminal {
		parts := make([]string, len(rows))
		for i, r := range rows {
			parts[i] = fmt.Sprintf("%s %d (%s)", r.target, r.pushed, r.breaker)
		}
		fmt.Fprintf(s.Out, "%5.1fs  published %d: %s\n", time.Since(s.began).Seconds(), published, strings.Join(parts, ", "))
		return
	}
	if s.drawn > 0 {
		fmt.Fprintf(s.Out, "\x1b[%dA", s.drawn)
	}
	for _, r := range rows {
		color := "32"
		if r.breaker != "closed" {
			color = "31"
		}
		waits := ""
		if r.oldest > time.Second {
			waits = fmt.Sprintf("oldest waits %s", r.oldest.Round(100*time.Millisecond))
		}
		fmt.Fprintf(s.Out, "\x1b[2K        %-15s %s %4d  %s  %s\n", r.target, bar(r.pushed, published), r.pushed,
			s.paint(color, fmt.Sprintf("breaker %-9s", r.breaker)), waits)
	}
	s.drawn = len(rows)
}

// bar shows a share of what was published.
func bar(n int64, of int) string {
	const width = 24
	filled := 0
	if of > 0 {
		filled = min(width, int(n)*width/of)
	}
	return strings.Repeat("█", filled) + strings.Repeat("░", width-filled)
}

// Conclude says what the external systems hold.
func (s *Screen) Conclude(r *Result) {
	s.drawn = 0
	fmt.Fprintln(s.Out)
	verdict := s.paint("32", "Everything arrived, each policy in order.")
	if !r.Sound() {
		verdict = s.paint("31", "A promise was broken.")
	}
	fmt.Fprintf(s.Out, "%s Asked afterwards, the targets lack %d changes, saw %d out of order and %d twice; %d dead letters.\n",
		verdict, r.Lost, r.OutOfOrder, r.Repeated, r.DeadLetters)
	fmt.Fprint(s.Out, `
Where to look next
  README.md               a config of your own, against your own Kafka
  pkg/demo/demo.yaml      the config that this demo ran
  policysync demo --sabotage skip-one
                          swallow one push, and see the check above find it
`)
}

func (s *Screen) paint(color, text string) string {
	if !s.Terminal {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}
