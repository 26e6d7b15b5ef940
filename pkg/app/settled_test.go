package app

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

func TestAwaitSettled(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config(`
targets:
  ledger: {connector: file, path: @dir/ledger.jsonl, map: {id: event.payload.policyId}}
  deep: {connector: file, path: @dir/deep.jsonl, when: event.version < 2, map: {tenth: "event.payload.rules[9].text"}}
`)
	begun := time.Now()
	p.running(cfg)
	written := p.produce(cfg, oneLine(policy("P-1", 1, "policyCreated")), oneLine(policy("P-2", 2, "policyUpdated")))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := AwaitSettled(ctx, cfg, written, begun, discard)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff([]Settlement{
		{Key: "P-1", Target: "ledger", Outcome: "delivered"},
		{Key: "P-1", Target: "deep", Outcome: "dead-lettered"},
		{Key: "P-2", Target: "ledger", Outcome: "delivered"},
		{Key: "P-2", Target: "deep"}, // filtered
	}, got, cmpopts.IgnoreFields(Settlement{}, "Source", "Error")))
	require.NotEmpty(t, got[1].Error)
}

// Without a member it ends with the context and names what is missing.
func TestAwaitSettledNamesWhoIsLate(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config("")
	written := p.produce(cfg, oneLine(policy("P-1", 1, "policyCreated")))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // to read the commits once
	defer cancel()
	_, err := AwaitSettled(ctx, cfg, written, time.Now(), discard)
	require.ErrorContains(t, err, "target ledger has not settled "+written[0].Source.String())
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
