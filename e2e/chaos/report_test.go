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
	fmt.Fprintf(&b, "events %d %s\n", events, counts(kinds))
	faults := map[string]int{}
	for _, i := range h.incidents {
		subject, _, _ := strings.Cut(i.on, "-")
		faults[subject+" "+i.kind]++
	}
	fmt.Fprintf(&b, "faults %d %s\n", len(h.incidents), counts(faults))
	for _, target := range slices.Sorted(maps.Keys(h.arrivals)) {
		answers, seen, again := map[string]int{}, map[position]bool{}, 0
		var applied int
		for _, a := range h.arrivals[target] {
			answers[fmt.Sprint(a.status)]++
			if !a.applied {
				continue
			}
			applied++
			if seen[a.position] {
				again++
			}
			seen[a.position] = true
		}
		fmt.Fprintf(&b, "%-8s requests %d %s, applied %d, of these repeats %d\n", target, len(h.arrivals[target]), counts(answers), applied, again)
	}
	causes := map[string]int{}
	for _, x := range h.letters {
		target, _, _ := strings.Cut(x.target, "_")
		causes[strings.TrimSpace(target+" "+x.class)+" "+h.records[x.partition][x.offset].kind]++
	}
	fmt.Fprintf(&b, "letters %d %s\n", len(h.letters), counts(causes))
	fmt.Fprintf(&b, "commits seen %d\n", len(h.commits))
	if takeovers := h.takeovers(); len(takeovers) > 0 {
		slices.Sort(takeovers)
		fmt.Fprintf(&b, "partitions taken over after kill -9: %d, half within %.1fs, all within %.1fs\n",
			len(takeovers), takeovers[len(takeovers)/2].Seconds(), takeovers[len(takeovers)-1].Seconds())
	}
	return b.String()
}

// takeovers are the times from the kill -9 of a member to the next arrival, from
// another process, of each partition that it had.
func (h *history) takeovers() (times []time.Duration) {
	arrivals := slices.SortedFunc(slices.Values(h.arrivals["steady"]), func(a, b arrival) int { return a.begun.Compare(b.begun) })
	for _, i := range h.incidents {
		if i.kind != kill || !strings.HasPrefix(i.on, "member") {
			continue
		}
		owner, next := map[int32]string{}, map[int32]bool{}
		for _, a := range arrivals {
			switch o := owner[a.partition]; {
			case a.begun.Before(i.from):
				owner[a.partition] = a.member
			case strings.HasPrefix(o, i.on+".") && a.member != o && !next[a.partition]:
				next[a.partition] = true
				times = append(times, a.begun.Sub(i.from))
			}
		}
	}
	return times
}

func counts(m map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
