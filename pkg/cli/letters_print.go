package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/hms-sme/policysync/pkg/app"
)

// letterPrinter prints letters as they come, or counts them.
type letterPrinter struct {
	json   *json.Encoder
	out    io.Writer
	table  *tabwriter.Writer
	rows   int
	groups *app.LetterGroups // nil unless they are to be counted
}

// tableRows is how many rows share the widths of their columns, and how many are kept
// in memory.
const tableRows = 500

func newLetterPrinter(w io.Writer, group, asJSON bool) *letterPrinter {
	p := &letterPrinter{out: w, table: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	if asJSON {
		p.json = json.NewEncoder(w)
		p.json.SetEscapeHTML(false)
	}
	if group {
		p.groups = app.NewLetterGroups()
	}
	return p
}

func (p *letterPrinter) add(l *app.StoredLetter) error {
	switch {
	case p.groups != nil:
		p.groups.Add(l)
		return nil
	case p.json != nil:
		return p.json.Encode(l.Document())
	}
	if p.rows == 0 {
		fmt.Fprintln(p.table, "WRITTEN\tTARGET\tCLASS\tKEY\tVERSION\tERROR\tID")
	}
	d := l.Document()
	key, version := "-", "-"
	if d.Key != nil {
		key = *d.Key
	}
	if d.Version != nil {
		version = fmt.Sprint(*d.Version)
	}
	fmt.Fprintf(p.table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", stamp(d.Written), orDash(d.Target), d.Class, line(key, 40), version, line(d.Error, 80), d.ID)
	if p.rows++; p.rows%tableRows == 0 {
		return p.table.Flush()
	}
	return nil
}

// end prints what was counted, and what is still to be printed.
func (p *letterPrinter) end() error {
	if p.groups == nil {
		if p.rows == 0 && p.json == nil {
			fmt.Fprintln(p.out, "no dead letters")
		}
		return p.table.Flush()
	}
	counts := p.groups.Counts()
	if p.json != nil {
		for _, n := range counts {
			if err := p.json.Encode(n); err != nil {
				return err
			}
		}
		return nil
	}
	if len(counts) == 0 {
		fmt.Fprintln(p.out, "no dead letters")
		return nil
	}
	fmt.Fprintln(p.table, "TARGET\tCLASS\tCOUNT\tFIRST\tLAST\tERROR")
	for _, n := range counts {
		fmt.Fprintf(p.table, "%s\t%s\t%d\t%s\t%s\t%s\n", orDash(n.Target), n.Class, n.Count, stamp(n.First), stamp(n.Last), line(n.Error, 120))
	}
	return p.table.Flush()
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func orDash(s string) string { return cmp.Or(s, "-") }

// counted is a number of things.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
