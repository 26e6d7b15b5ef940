package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// report writes figures as table, plot and raw.
func (b *bench) report(name, note string, all []figures) error {
	raw, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	return b.write(name, note+"\n\n"+table(all), string(raw)+"\n", bars(all))
}

func (b *bench) write(name, table, raw, plot string) error {
	fmt.Print(table)
	if err := os.MkdirAll(b.out, 0o750); err != nil {
		return err
	}
	for end, text := range map[string]string{".json": raw, ".md": table, ".svg": plot} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(b.out, name+end), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func table(all []figures) string {
	var t strings.Builder
	t.WriteString("| work | contender | deliveries/s | of bare client | p50 / p99 / p99.9 ms | all delivered | out of order | repeats | CPU s per million | peak MiB | " +
		"bytes read per delivery | first delivery after | longest pause | load before | cannot |\n" +
		"|---|---|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n")
	for _, f := range all {
		ratio, latency, done := "–", "–", "yes"
		if f.OfBare > 0 {
			ratio = fmt.Sprintf("%.2f", f.OfBare)
		}
		if f.Latency[0] > 0 {
			latency = fmt.Sprintf("%.1f / %.1f / %.1f", millis(f.Latency[0]), millis(f.Latency[1]), millis(f.Latency[2]))
		}
		if !f.Complete {
			done = "no"
		}
		fmt.Fprintf(&t, "| %s | %s | %.0f | %s | %s | %s | %d | %d | %.0f | %.0f | %.0f | %.1f s | %.0f ms | %s | %s |\n", f.Load, f.Contender, f.PerSecond,
			ratio, latency, done, f.OutOfOrder, f.Repeats, f.CPU, f.PeakMiB, f.Read, f.Start.Seconds(), millis(f.Pause), f.Busy, cannot[f.Contender])
	}
	return t.String()
}

func millis(d time.Duration) float64 { return d.Seconds() * 1000 }

var colours = map[string]string{
	"bare": "#9aa0a6", "policysync": "#0b6e4f", "loop": "#d98e04", "benthos": "#8a4fbe", "parallel-consumer": "#2c6fbb",
}

// bars draws a bar for each figure, with its number beside it: first the rates of
// backlogs, then the times that events which flow took.
func bars(all []figures) string {
	const height, left, width = 22, 380, 520
	var s strings.Builder
	y := 0
	draw := func(title, format string, scale func(float64) float64, of func(figures) (float64, bool)) {
		most, rows := 0.0, []figures{}
		for _, f := range all {
			if v, ok := of(f); ok {
				most, rows = max(most, v), append(rows, f)
			}
		}
		if len(rows) == 0 {
			return
		}
		y += height
		fmt.Fprintf(&s, `<text x="8" y="%d" font-weight="bold">%s</text>`+"\n", y-6, title)
		for _, f := range rows {
			v, _ := of(f)
			long := scale(v) / scale(max(1, most)) * width
			fmt.Fprintf(&s, `<text x="8" y="%d">%s: %s</text><rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/><text x="%.0f" y="%d">`+format+"</text>\n",
				y+15, f.Load, f.Contender, left, y+2, long, height-4, colours[f.Contender], left+6+long, y+15, v)
			y += height
		}
	}
	draw("Deliveries per second", "%.0f", func(v float64) float64 { return v }, func(f figures) (float64, bool) { return f.PerSecond, f.Latency[0] == 0 })
	draw("Milliseconds from an event's making until it came, p99, on a logarithmic scale", "%.1f", math.Log1p,
		func(f figures) (float64, bool) { return millis(f.Latency[1]), f.Latency[0] > 0 })
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		left+width+90, y+height) + s.String() + "</svg>\n"
}

// curves draws the memory of each outage over time; a line marks its end.
func curves(all []series) string {
	const height, width, left, gap = 180, 720, 60, 50
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		left+width+20, (height+gap)*len(all)+10)
	for i, o := range all {
		top := (height+gap)*i + gap - 10
		end := o.Samples[len(o.Samples)-1].Seconds
		peak := most(o.Samples, func(p sample) float64 { return p.Resident })
		x := func(seconds float64) float64 { return left + seconds/max(1, end)*width }
		fmt.Fprintf(&s, `<text x="8" y="%d" font-weight="bold">%s: %d events, %d keys</text><text x="8" y="%d">%.0f MiB</text><text x="8" y="%d">0</text>`+
			`<text x="%d" y="%d">%.0f s</text><path d="M%d %dV%dH%d" fill="none" stroke="#9aa0a6"/>`+"\n",
			top-12, o.Name, o.Events, o.Keys, top+10, peak, top+height, left+width-20, top+height+14, end, left, top, top+height, left+width)
		fmt.Fprintf(&s, `<path d="M%.1f %dV%d" stroke="#d98e04" stroke-dasharray="4"/><text x="%.1f" y="%d" text-anchor="end">the third target is back</text>`+"\n",
			x(o.Healed), top, top+height, x(o.Healed)-4, top+height-6)
		for name, of := range map[string]func(sample) float64{
			"#0b6e4f": func(p sample) float64 { return p.Resident }, "#2c6fbb": func(p sample) float64 { return p.Heap },
		} {
			fmt.Fprintf(&s, `<polyline fill="none" stroke="%s" points="`, name)
			for _, p := range o.Samples {
				fmt.Fprintf(&s, "%.1f,%.1f ", x(p.Seconds), float64(top+height)-of(p)/max(1, peak)*height)
			}
			s.WriteString(`"/>` + "\n")
		}
		fmt.Fprintf(&s, `<text x="%d" y="%d" fill="#0b6e4f">resident</text><text x="%d" y="%d" fill="#2c6fbb">heap in use</text>`+"\n",
			left+width-140, top-12, left+width-80, top-12)
	}
	s.WriteString("</svg>\n")
	return s.String()
}
