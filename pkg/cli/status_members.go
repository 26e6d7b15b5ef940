package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// printMembers prints what the members tell: of each target, and of themselves.
func printMembers(w io.Writer, s *app.Status, now time.Time) error {
	switch {
	case s.MembersUnknown != "":
		_, err := fmt.Fprintf(w, "\nmembers unknown: %s\n", s.MembersUnknown)
		return err
	case len(s.Members) == 0:
		_, err := fmt.Fprint(w, "\nno member is alive\n")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "\nTARGET\tBREAKER\tOLDEST WAITING\tIN FLIGHT\tFAILURE")
	for _, t := range s.Targets {
		var breakers []string
		var oldest float64
		inFlight, failure := 0, ""
		for _, m := range s.Members {
			if state, ok := m.Targets[t.Target]; ok {
				breakers = append(breakers, breaker(state))
				oldest = max(oldest, state.OldestSeconds)
				inFlight += state.InFlight
				failure = cmp.Or(failure, state.Failure)
			}
		}
		if len(breakers) > 0 {
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", t.Target, tallied(breakers), waiting(oldest), inFlight, orDash(flat(failure)))
		}
	}
	fmt.Fprintln(table, "\nMEMBER\tRELEASE\tPARTITIONS\tSEEN")
	for _, m := range s.Members {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s ago\n", m.ID, m.Version, len(m.Partitions), age(now.Sub(m.Time)))
	}
	return table.Flush()
}

func breaker(s receipt.State) string {
	switch {
	case s.Paused:
		return "paused"
	case s.Held:
		return "held"
	}
	return s.Breaker
}

// tallied is what the members say, with counts if they differ.
func tallied(said []string) string {
	slices.Sort(said)
	var parts []string
	for i := 0; i < len(said); {
		n := 0
		for ; i < len(said) && said[i-n] == said[i]; i++ {
			n++
		}
		if n == len(said) {
			return said[0]
		}
		parts = append(parts, fmt.Sprintf("%s (%d)", said[i-1], n))
	}
	return strings.Join(parts, ", ")
}

func waiting(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return age(time.Duration(seconds * float64(time.Second)))
}
