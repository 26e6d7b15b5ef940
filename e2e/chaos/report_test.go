//go:build e2e

package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// stamp prints a time as in the members' logs.
func stamp(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// account tells all that is known of one delivery, for a finding.
func (l *lane) account(offset int64) string {
	if offset >= int64(len(l.records)) {
		return "there is no such record"
	}
	r := l.records[offset]
	lines := []string{fmt.Sprintf("%d is %s of %s v%d", offset, r.kind, r.key, r.version)}
	for _, a := range l.arrivals {
		if a.offset == offset {
			lines = append(lines, fmt.Sprintf("%s arrived %s, answered %d %s, applied %t, gone %t", a.member, stamp(a.begun), a.status, stamp(a.ended), a.applied, a.gone))
		}
	}
	for _, x := range l.letters {
		if x.offset == offset {
			lines = append(lines, fmt.Sprintf("%s letter %s", x.class, stamp(x.written)))
		}
	}
	return strings.Join(lines, ", ")
}

// heading is that of the table in docs/chaos.md.
const heading = `| seed, faults for | protocol | faults | events | pushes | repeats | letters | found |
|---|---|---|---|---|---|---|---|`

// row is a run's line of that table.
func (h *history) row(seed uint64, duration time.Duration, findings []finding) string {
	events, pushes, repeats := 0, 0, 0
	for _, records := range h.records {
		events += len(records)
	}
	for _, arrivals := range h.arrivals {
		pushes += len(arrivals)
	}
	for _, l := range h.lanes() {
		repeats += len(l.repeats())
	}
	found := map[string]int{}
	for _, f := range findings {
		found[f.rule]++
	}
	result := "nothing"
	if len(found) > 0 {
		result = counts(found)
	}
	return fmt.Sprintf("| %d, %s | %s | %d | %d | %d | %d | %d | %s |",
		seed, duration, h.protocol, len(h.incidents), events, pushes, repeats, len(h.letters), result)
}

// report prints the figures of a run.
func (h *history) report() string {
	var b strings.Builder
	kinds, events := map[string]int{}, 0
	for _, records := range h.records {
		for _, r := range records {
			kinds[r.kind]++
			events++
		}
	}
	fmt.Fprintf(&b, "protocol %s, events %d %s\n", h.protocol, events, counts(kinds))
	faults := map[string]int{}
	for _, i := range h.incidents {
		subject, _, _ := strings.Cut(i.on, "-")
		faults[subject+" "+i.kind]++
	}
	fmt.Fprintf(&b, "faults %d %s\n", len(h.incidents), counts(faults))
	for _, target := range slices.Sorted(maps.Keys(h.arrivals)) {
		answers, applied := map[string]int{}, 0
		for _, a := range h.arrivals[target] {
			answers[fmt.Sprint(a.status)]++
			if a.applied {
				applied++
			}
		}
		fmt.Fprintf(&b, "%-8s requests %d %s, applied %d\n", target, len(h.arrivals[target]), counts(answers), applied)
	}
	b.WriteString(h.reportRepeats())
	causes := map[string]int{}
	for _, x := range h.letters {
		target, _, _ := strings.Cut(x.target, "_")
		causes[strings.TrimSpace(target+" "+x.class)+" "+h.records[x.partition][x.offset].kind]++
	}
	fmt.Fprintf(&b, "letters %d %s\n", len(h.letters), counts(causes))
	fmt.Fprintf(&b, "commits seen %d, receipts of what a target has %d\n", len(h.commits), len(h.held))
	alone, amid := h.takeovers()
	within(&b, "with no other fault of a member or of Kafka", alone)
	within(&b, "amid others", amid)
	return b.String()
}

// within prints how long partitions took to be taken over.
func within(b *strings.Builder, when string, times []time.Duration) {
	if n := len(times); n > 0 {
		slices.Sort(times)
		fmt.Fprintf(b, "taken over after kill -9 %s: %d partitions, half within %.1fs, all within %.1fs\n",
			when, n, times[n/2].Seconds(), times[n-1].Seconds())
	}
}

// reportRepeats tells why things came again, how many deliveries, and how long ago the
// first had settled when its member ended.
func (h *history) reportRepeats() string {
	n, oldest := map[string]int{}, map[string]time.Duration{}
	superseded, pushed := 0, 0
	for _, l := range h.lanes() {
		for _, r := range l.repeats() {
			n[r.why]++
			oldest[r.why] = max(oldest[r.why], r.age)
		}
		if !l.conflates() {
			continue
		}
		for o := range l.records {
			switch {
			case len(l.by[int64(o)]) > 0:
				pushed++
			case !l.lettered(int64(o)):
				superseded++
			}
		}
	}
	var b strings.Builder
	for _, why := range slices.Sorted(maps.Keys(n)) {
		fmt.Fprintf(&b, "repeats  %d %s", n[why], why)
		if age := oldest[why]; age > 0 {
			fmt.Fprintf(&b, ", which had settled at most %.1fs before", age.Seconds())
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "conflated: %d events pushed, %d superseded\n", pushed, superseded)
	return b.String()
}

// takeovers are the times from the kill -9 of a member to the next tenure of each
// partition that it had: those in which nothing else befell a member or Kafka, from a
// session before the kill on, and the others.
func (h *history) takeovers() (alone, amid []time.Duration) {
	for _, i := range h.incidents {
		if i.kind != kill || i.process == "" {
			continue
		}
		for _, tenures := range h.tenures {
			for n, x := range tenures {
				if x.process != i.process || !x.to.Equal(never) || n+1 == len(tenures) || tenures[n+1].from.Before(i.from) {
					continue
				}
				until := tenures[n+1].from
				if slices.ContainsFunc(h.incidents, func(j *incident) bool {
					return j != i && j.disturbs() && j.from.Before(until) && j.to.After(i.from.Add(-sessionTimeout))
				}) {
					amid = append(amid, until.Sub(i.from))
				} else {
					alone = append(alone, until.Sub(i.from))
				}
			}
		}
	}
	return alone, amid
}

func counts(m map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
