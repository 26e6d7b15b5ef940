package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// printPolicy prints, for each target, the version that it has and what kept a newer
// one from it.
func printPolicy(w io.Writer, s *app.PolicyStatus, now time.Time) {
	fmt.Fprintf(w, "policy %s\n", flat(s.Key))
	for _, t := range s.Targets {
		name := t.Target
		if !t.Configured {
			name += " (not in the config)"
		}
		switch {
		case t.Held == nil && t.Last == nil:
			fmt.Fprintf(w, "\n%s: nothing is known\n", name)
			continue
		case t.Held == nil:
			fmt.Fprintf(w, "\n%s: no delivery is known\n", name)
		default:
			fmt.Fprintf(w, "\n%s: %s, delivered %s\n", name, versionOf(t.Held), when(t.Held.Time, now))
			printFacts(w, "  ", t.Held)
		}
		if t.Last != nil {
			printWhyNot(w, t.Last, t.Outcome == receipt.Delivered, now)
		}
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "\nnot readable: %s\n", p)
	}
}

// printWhyNot prints an outcome that was no delivery; past, if a later version was
// delivered.
func printWhyNot(w io.Writer, r *receipt.Receipt, past bool, now time.Time) {
	not := "not"
	if past {
		not = "earlier, not"
	}
	fmt.Fprintf(w, "  %s %s: %s %s\n", not, versionOf(r), r.Outcome, when(r.Time, now))
	switch r.Outcome {
	case receipt.DeadLettered:
		fmt.Fprintf(w, "    because     %s: %s\n", r.Class, flat(r.Error))
		fmt.Fprintf(w, "    letter      %s\n", r.Letter)
	case receipt.Stale:
		fmt.Fprintf(w, "    because     the target had a newer version already, and kept it\n")
	case receipt.Superseded:
		fmt.Fprintf(w, "    because     a newer version took its place\n")
	}
	printFacts(w, "    ", r)
}

func printFacts(w io.Writer, indent string, r *receipt.Receipt) {
	fmt.Fprintf(w, "%ssource      %s/%d, offset %d\n", indent, r.Source.Topic, r.Source.Partition, r.Source.Offset)
	fmt.Fprintf(w, "%sattempts    %d\n", indent, r.Attempts)
	for _, f := range []struct{ name, value string }{{"trace", r.Trace}, {"reference", r.Reference}} {
		if f.value != "" {
			fmt.Fprintf(w, "%s%-10s  %s\n", indent, f.name, flat(f.value))
		}
	}
	if r.Superseded > 0 {
		fmt.Fprintf(w, "%ssuperseded  %d\n", indent, r.Superseded)
	}
}

// versionOf is what an operator calls the event of a receipt.
func versionOf(r *receipt.Receipt) string {
	switch {
	case r.Deleted:
		return "the deletion"
	case r.HasVersion:
		return fmt.Sprintf("version %d", r.Version)
	}
	return "the version without a number"
}

// when prints a time and how long ago it was.
func when(t, now time.Time) string {
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format("2006-01-02 15:04:05 UTC"), age(now.Sub(t)))
}

// age is a duration in its largest unit.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
