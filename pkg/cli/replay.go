package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/kafka"
)

func newReplay(b build) *cobra.Command {
	c := &cobra.Command{
		Use:   "replay -c FILE --target T --from EARLIEST|TIME|OFFSETS [--to …] [--every] [--dry-run]",
		Short: "Send one target again what it had, while everything runs",
		Long: `Move one target's cursors back, while the members run. The target gets the newest
version of each policy that changed since then, under new idempotency keys; the other
targets notice nothing. The command returns when all is sent; ended earlier, the
replay goes on without it.

--to, --every, and more events in a partition than the target's window has room for,
push versions that are older than what the target has. Only a target that refuses such
versions takes that without --allow-old-versions.`,
		Example: example("policysync replay -c policysync.yaml --target legacyDatabase --from 2026-11-01",
			"policysync replay -c policysync.yaml --target legacyDatabase --from earliest --dry-run",
			"policysync replay -c policysync.yaml --target legacyDatabase --from policy-events/0:1042,policy-events/1:977"),
		Args: cobra.NoArgs,
	}
	load := configFlag(c, b)
	var q app.ReplayRequest
	c.Flags().StringVar(&q.Target, "target", "", "the target's name")
	c.Flags().StringVar(&q.From, "from", "", "`earliest`, a date, a time, or TOPIC/PARTITION:OFFSET,…")
	c.Flags().StringVar(&q.To, "to", "", "where to end, in the same forms; `where` the target is unless given")
	c.Flags().BoolVar(&q.Every, "every", false, "push each version, not only the newest of each policy")
	c.Flags().BoolVar(&q.AllowOldVersions, "allow-old-versions", false, "push also what is older than what the target has")
	reason := c.Flags().String("reason", "", "why, for those who read the logs")
	dryRun := c.Flags().Bool("dry-run", false, "show what would be replayed, and do nothing")
	asJSON := c.Flags().Bool("json", false, "print JSON, a line per change")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if q.Target == "" || q.From == "" {
			return usageError{errors.New("no target or no start given: --target T --from F")}
		}
		q.From, q.To = strings.Replace(q.From, "EARLIEST", "earliest", 1), strings.Replace(q.To, "EARLIEST", "earliest", 1)
		cfg, err := load()
		if err != nil {
			return err
		}
		adm, err := app.NewAdmin(cfg, quiet())
		if err != nil {
			return err
		}
		defer adm.Close()
		r, err := app.NewReplay(c.Context(), cfg, adm, q)
		old, _ := errors.AsType[*app.OldVersionsError](err)
		if old != nil || errors.Is(err, app.ErrNoTarget) {
			return usageError{err}
		}
		if err != nil {
			return err
		}
		r.ID, r.Origin = strings.ToLower(rand.Text()[:10]), app.Origin(*reason)
		if *dryRun {
			return showReplay(c, r, *asJSON)
		}
		at, err := app.StartReplay(c.Context(), cfg, adm, r)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "replay %s is commanded\n", r.ID)
		if err := followReplay(c, adm, r, at, *asJSON); err != nil {
			return err
		}
		return app.FinishReplay(context.WithoutCancel(c.Context()), cfg, adm, r)
	}
	return c
}

// showReplay prints the ranges of a replay.
func showReplay(c *cobra.Command, r *control.Replay, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(c.OutOrStdout()).Encode(r)
	}
	for _, g := range r.Ranges {
		to := "where the target is"
		if g.To != nil {
			to = fmt.Sprintf("%d (%d offsets)", *g.To, *g.To-g.From)
		}
		fmt.Fprintf(c.OutOrStdout(), "%s/%d: from %d to %s\n", g.Topic, g.Partition, g.From, to)
	}
	return nil
}

// followReplay prints how far a replay is whenever that has changed, until it is over.
func followReplay(c *cobra.Command, adm *kafka.Admin, r *control.Replay, at int64, asJSON bool) error {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	last := ""
	for {
		parts, err := app.ReplayProgress(c.Context(), adm, r, at)
		if err != nil {
			return err
		}
		done, left := 0, int64(0)
		for _, p := range parts {
			left += p.Left
			if p.State == "done" {
				done++
			}
		}
		line := fmt.Sprintf("%d of %d partitions done, %d offsets left in those that have begun", done, len(parts), left)
		if asJSON {
			text, err := json.Marshal(parts)
			if err != nil {
				return err
			}
			line = string(text)
		}
		if line != last {
			fmt.Fprintln(c.OutOrStdout(), line)
			last = line
		}
		if done == len(parts) {
			return nil
		}
		select {
		case <-ticker.C:
		case <-c.Context().Done():
			return fmt.Errorf("replay %s goes on without this command; `policysync commands` shows it: %w", r.ID, context.Cause(c.Context()))
		}
	}
}
