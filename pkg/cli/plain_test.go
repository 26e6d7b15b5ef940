package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// evil has a terminal change its colours, by both forms of the sequence, and would pass
// for a line of ours.
const evil = "\x1b[31mP-1\u009b31m\r\nother: version 9, delivered"

func TestPlain(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Größe 5\t€\n": "Größe 5\t€\n",
		evil:           "\\u001b[31mP-1\\u009b31m\\u000d\nother: version 9, delivered",
		"a\x7f\x9bb":   "a\\u007f\ufffdb",
	} {
		var out strings.Builder
		n, err := plain{&out}.Write([]byte(in))
		require.NoError(t, err)
		require.Equal(t, len(in), n)
		require.Equal(t, want, out.String())
	}
	var out bytes.Buffer
	require.NoError(t, json.NewEncoder(plain{&out}).Encode(evil))
	require.NotContains(t, out.String(), "\u009b")
	var back string
	require.NoError(t, json.Unmarshal(out.Bytes(), &back))
	require.Equal(t, evil, back, "JSON means the same")
	_, err := plain{failing{}}.Write([]byte("x"))
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }

// What an event or a system says is never more than part of a line.
func TestNoForeignTextIsALine(t *testing.T) {
	t.Parallel()
	key := evil
	letter := &app.LetterView{LetterDocument: &app.LetterDocument{ID: "0/0/0/ledger", Key: &key, Error: evil}, Headers: []app.Header{{Name: evil, Value: evil}}}
	r := &receipt.Receipt{Outcome: receipt.DeadLettered, Error: evil, Reference: evil}
	for name, show := range map[string]func(io.Writer) error{
		"dead-letters show": func(w io.Writer) error { return printLetter(w, letter) },
		"status --key": func(w io.Writer) error {
			printPolicy(w, &app.PolicyStatus{Key: evil, Targets: []app.PolicyTarget{{Target: "ledger", Held: r, Last: r}}}, now)
			return nil
		},
		"commands": func(w io.Writer) error {
			c := &cobra.Command{}
			c.SetOut(w)
			return printCommands(c, &app.Commands{
				Pauses: []app.PauseStatus{{Target: "ledger", Origin: control.Origin{By: evil, Reason: evil}}},
				Pushes: []app.PushStatus{{ID: "p1", Push: &control.Push{PolicyKey: evil}}},
			}, false)
		},
		"status": func(w io.Writer) error {
			members := []receipt.Member{{Targets: map[string]receipt.State{"ledger": {Failure: evil}}}}
			return printMembers(w, &app.Status{Targets: []app.TargetStatus{{Target: "ledger"}}, Members: members}, now)
		},
		"produce --settled": func(w io.Writer) error {
			return printSettlements(w, []app.Settlement{{Key: evil, Outcome: receipt.Delivered}}, true)
		},
	} {
		var out strings.Builder
		require.NoError(t, show(plain{&out}), name)
		require.Contains(t, out.String(), "other: version 9", name)
		require.NotContains(t, out.String(), "\nother", name)
		require.NotContains(t, out.String(), "\x1b", name)
	}
}
