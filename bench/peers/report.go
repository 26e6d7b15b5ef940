package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// cannot is what a contender does not do and policysync does.
var cannot = map[string]string{
	"bare":       "reads no Kafka, decodes nothing, keeps nothing after a crash",
	"policysync": "",
	"loop":       "one request in flight per partition; no breaker, no dead letters; a target that is down stops all",
	"benthos":    "promises no order of a key; a target that is down stops all",
}

// report writes table, plot and raw figures.
func (b *bench) report(all []figures) error {
	raw, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	table := b.table(all)
	fmt.Print(table)
	if err := os.MkdirAll(b.out, 0o750); err != nil {
		return err
	}
	for name, text := range map[string]string{"peers.json": string(raw) + "\n", "peers.md": table, "peers.svg": plot(all)} {
		if err := os.WriteFile(filepath.Join(b.out, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) table(all []figures) string {
	var t strings.Builder
	fmt.Fprintf(&t, "%d events of about 600 bytes, %d keys, %d partitions, %d requests in flight to a target, at most %s each.\n\n",
		b.events, b.events/versions, partitions, b.concurrency, b.limit)
	t.WriteString("| work | contender | deliveries/s | of bare client | all delivered | out of order | repeats | CPU s per million | peak MiB | load before | cannot |\n" +
		"|---|---|--:|--:|---|--:|--:|--:|--:|--:|---|\n")
	for _, f := range all {
		ratio := "–"
		if f.OfBare > 0 {
			ratio = fmt.Sprintf("%.2f", f.OfBare)
		}
		done := "yes"
		if !f.Complete {
			done = "no"
		}
		fmt.Fprintf(&t, "| %s | %s | %.0f | %s | %s | %d | %d | %.0f | %.0f | %s | %s |\n", f.Scenario, f.Contender, f.PerSecond, ratio, done,
			f.OutOfOrder, f.Repeats, f.CPU, f.PeakMiB, f.Load, cannot[f.Contender])
	}
	return t.String()
}

var colours = map[string]string{"bare": "#9aa0a6", "policysync": "#0b6e4f", "loop": "#d98e04", "benthos": "#8a4fbe"}

// plot draws a bar for each figure, with its number beside it.
func plot(all []figures) string {
	const height, left, width = 22, 300, 520
	most := 1.0
	for _, f := range all {
		most = max(most, f.PerSecond)
	}
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		left+width+90, height*(len(all)+2))
	fmt.Fprintf(&s, `<text x="8" y="16" font-weight="bold">Deliveries per second</text>`+"\n")
	for i, f := range all {
		y := height * (i + 1)
		fmt.Fprintf(&s, `<text x="8" y="%d">%s: %s</text><rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/><text x="%.0f" y="%d">%.0f</text>`+"\n",
			y+15, f.Scenario, f.Contender, left, y+2, f.PerSecond/most*width, height-4, colours[f.Contender],
			left+6+f.PerSecond/most*width, y+15, f.PerSecond)
	}
	s.WriteString("</svg>\n")
	return s.String()
}
