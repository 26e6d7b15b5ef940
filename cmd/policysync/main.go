// Command policysync brings every change of a policy to the systems that must
// show it. See `policysync --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/config"
)

// version is set when a release is built.
var version string

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if _, silent := errors.AsType[silentError](err); !silent {
		fmt.Fprintln(os.Stderr, "policysync:", err)
	}
	var mistakes *config.Error
	var usage usageError
	if errors.As(err, &mistakes) || errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "policysync",
		Short: "Bring every policy change to the systems that must show it",
		Long: `policysync is a Kafka consumer group that pushes each policy event to its
targets, in order per policy, and commits an offset only when every target has it.

Exit codes: 0 done, 1 failed, 2 wrong usage or config.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
	})
	root.AddCommand(newRun(), newDemo(), newValidate(), newMap(), newTest(), newSchema(), newProduce(), newTopics(), newStatus(), newVersion())
	strict(root)
	return root
}

// strict makes wrong arguments of a command and of those below it wrong usage.
func strict(c *cobra.Command) {
	check := c.Args
	c.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
		}
		return nil
	}
	for _, below := range c.Commands() {
		strict(below)
	}
}

// usageError makes the exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// silentError makes the exit code 1 where the command has printed why.
type silentError struct{ error }

// buildVersion is the release, or what the Go toolchain knows of the build.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
