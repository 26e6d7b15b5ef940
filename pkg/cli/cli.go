// Package cli is the command line of policysync: one file per command. It parses
// flags and prints, and decides nothing about a record. Which connectors there are
// is for the binary to say: see [Main].
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
)

// build is what differs between the binaries that have this command line.
type build struct {
	connectors connector.Registry
	version    string
}

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// Main runs the command that the arguments of the process name and returns the exit
// code: 0 done, 1 failed, 2 wrong usage or config. The config may ask for the given
// connectors and no others. An empty version stands for what the Go toolchain knows
// of the build. SIGINT and SIGTERM end the command.
func Main(connectors connector.Registry, version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot(build{connectors, version})
	root.SetOut(plain{os.Stdout})
	root.SetErr(plain{os.Stderr})
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if _, silent := errors.AsType[silentError](err); !silent {
		fmt.Fprintln(root.ErrOrStderr(), "policysync:", err)
	}
	if misused(err) {
		return exitUsage
	}
	return exitFailed
}

// misused reports whether it takes other arguments or another config to get on.
func misused(err error) bool {
	var mistakes *config.Error
	var usage usageError
	var request *app.RequestError
	var old *app.OldVersionsError
	var configured *app.ConfiguredError
	return errors.As(err, &mistakes) || errors.As(err, &usage) || errors.As(err, &request) || errors.As(err, &old) || errors.As(err, &configured) ||
		errors.Is(err, app.ErrNoTarget) || errors.Is(err, app.ErrReceiptsOff) || errors.Is(err, connector.ErrNotComparable)
}

func newRoot(b build) *cobra.Command {
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
	root.AddCommand(newRun(b), newDemo(b), newValidate(b), newMap(b), newTest(b), newSchema(b), newProduce(b), newTopics(b), newStatus(b),
		newTargets(b), newDeadLetters(b), newPause(b), newResume(b), newReplay(b), newPush(b), newCommands(b), newVerify(b), newConsole(b), newVersion(b))
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

// release is the version, or what the Go toolchain knows of the build.
func (b build) release() string {
	if b.version != "" {
		return b.version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
