package app

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/control"
)

// A request that matches nothing is a mistake: a replay of nothing would seem to have
// worked.
func TestReplayThatMatchesNothing(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config("")
	p.produce(cfg, oneLine(policy("P-1", 1, "policyCreated")), oneLine(policy("P-1", 2, "policyUpdated")))
	adm, err := NewAdmin(cfg, discard)
	require.NoError(t, err)
	defer adm.Close()
	progress, err := adm.Progress(t.Context())
	require.NoError(t, err)
	full, empty := "policies/0", "policies/1"
	if progress[1].End > 0 {
		full, empty = empty, full
	}
	for _, row := range []struct{ from, to, says string }{
		{from: "yesterday", says: `--from "yesterday": want earliest, a date or time`},
		{from: "earliest", to: "now", says: `--to "now": want earliest, a date or time`},
		{from: time.Now().Add(time.Hour).Format(time.RFC3339), says: "it is in the future"},
		{from: "2026-11-02", to: "2026-11-01", says: `--to "2026-11-01": it is not after --from`},
		{from: "policie/0:1", says: "the group reads no partition policie/0"},
		{from: full + ":0,policies/2:0", says: "the group reads no partition policies/2"},
		{from: full + ":3", says: full + " ends at 2"},
		{from: full + ":1", to: full + ":1", says: "it is not after --from on " + full},
		{from: full + ":0", to: empty + ":1", says: empty + " ends at 0"},
		{from: empty + ":0", to: full + ":1", says: "it is not after --from on " + full},
		{from: "earliest", to: "earliest", says: `--from "earliest": nothing is in the log`},
		{from: full + ":2", says: full + `:2": nothing is in the log`},
		{from: "earliest", to: "policie/0:1", says: "the group reads no partition policie/0"},
	} {
		_, err := NewReplay(t.Context(), cfg, adm, ReplayRequest{Target: "ledger", From: row.from, To: row.to, AllowOldVersions: true})
		require.ErrorContains(t, err, row.says)
		var wrong *RequestError
		require.ErrorAs(t, err, &wrong, row.says)
	}
	r, err := NewReplay(t.Context(), cfg, adm, ReplayRequest{Target: "ledger", From: full + ":1," + empty + ":0", To: full + ":2", AllowOldVersions: true})
	require.NoError(t, err)
	two := int64(2)
	require.ElementsMatch(t, []control.Range{
		{Topic: "policies", Partition: int32(full[len(full)-1] - '0'), From: 1, To: &two},
		{Topic: "policies", Partition: int32(empty[len(empty)-1] - '0'), From: 0},
	}, r.Ranges)
}
