package cli

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/app"
)

// Long reading is told of in a pipe too, by lines, and the short is not.
func TestGaugeOfRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for terminal, want := range map[bool]string{
			true:  "\r\x1b[K[" + strings.Repeat("#", 15) + strings.Repeat(".", 15) + "] pass 1 of 2, 1500 of 3000 records\r\x1b[K[" + strings.Repeat("#", 20) + strings.Repeat(".", 10) + "] pass 1 of 2, 2000 of 3000 records\n",
			false: "pass 1 of 2, 2000 of 3000 records\n",
		} {
			var out strings.Builder
			g := newGauge()
			g.out, g.terminal = &out, terminal
			g.pass("pass 1 of 2, ", 1000, 3000)
			<-time.After(time.Second)
			g.pass("pass 1 of 2, ", 1500, 3000)
			<-time.After(9 * time.Second)
			g.pass("pass 1 of 2, ", 2000, 3000)
			g.pass("pass 1 of 2, ", 3000, 3000)
			g.end()
			g.end()
			require.Equal(t, want, out.String())
		}
	})
}

// JSON has its characters as they are, for those who look for them.
func TestPrintedJSON(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	c := &cobra.Command{}
	c.SetOut(&out)
	require.Error(t, printFindings(c, []app.Finding{{Part: "target ledger", Err: errors.New("it"), Message: "<b>no</b> & no"}}, true))
	require.Contains(t, out.String(), "<b>no</b> & no")
}
