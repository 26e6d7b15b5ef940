package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
)

var now = time.Date(2026, 11, 24, 18, 40, 0, 0, time.UTC)

func TestPrintPolicy(t *testing.T) {
	t.Parallel()
	at := func(offset int64) event.Position {
		return event.Position{Topic: "policy-events", Partition: 3, Offset: offset}
	}
	held := &receipt.Receipt{
		Outcome: receipt.Delivered, Time: now.Add(-3 * time.Minute), Attempts: 2, Source: at(42), Version: 7, HasVersion: true,
		Trace: "0af7651916cd43dd8448eb211c80319c", Reference: "R-17", Superseded: 4,
	}
	buried := &receipt.Receipt{
		Outcome: receipt.DeadLettered, Time: now.Add(-2 * time.Second), Attempts: 1, Source: at(43), Version: 8, HasVersion: true,
		Class: "permanent", Error: "upsert policies: value too long", Letter: "0102/3/43/legacyDatabase",
	}
	stale := &receipt.Receipt{Outcome: receipt.Stale, Time: now.Add(-4 * time.Hour), Source: at(40), Deleted: true}
	superseded := &receipt.Receipt{Outcome: receipt.Superseded, Time: now.Add(-72 * time.Hour), Source: at(41), Superseded: 2}
	var out strings.Builder
	printPolicy(&out, &app.PolicyStatus{Key: "DOI-7", Targets: []app.PolicyTarget{
		{Target: "schedulingTool", Configured: true, Outcome: receipt.Delivered, Held: held, Last: stale},
		{Target: "legacyDatabase", Configured: true, Outcome: receipt.DeadLettered, Held: held, Last: buried},
		{Target: "dataWarehouse", Configured: true, Outcome: receipt.Superseded, Last: superseded},
		{Target: "partner", Configured: true},
		{Target: "old", Outcome: receipt.Delivered, Held: &receipt.Receipt{Outcome: receipt.Delivered, Time: now, Source: at(1)}},
	}, Problems: []string{"read receipt \"held/x/DOI-7\": unexpected end of JSON input"}}, now)
	require.Equal(t, `policy DOI-7

schedulingTool: version 7, delivered 2026-11-24 18:37:00 UTC (3m ago)
  source      policy-events/3, offset 42
  attempts    2
  trace       0af7651916cd43dd8448eb211c80319c
  reference   R-17
  superseded  4
  earlier, not the deletion: stale 2026-11-24 14:40:00 UTC (4h ago)
    because     the target had a newer version already, and kept it
    source      policy-events/3, offset 40
    attempts    0

legacyDatabase: version 7, delivered 2026-11-24 18:37:00 UTC (3m ago)
  source      policy-events/3, offset 42
  attempts    2
  trace       0af7651916cd43dd8448eb211c80319c
  reference   R-17
  superseded  4
  not version 8: dead-lettered 2026-11-24 18:39:58 UTC (2s ago)
    because     permanent: upsert policies: value too long
    letter      0102/3/43/legacyDatabase
    source      policy-events/3, offset 43
    attempts    1

dataWarehouse: no delivery is known
  not the version without a number: superseded 2026-11-21 18:40:00 UTC (3d ago)
    because     a newer version took its place
    source      policy-events/3, offset 41
    attempts    0
    superseded  2

partner: nothing is known

old (not in the config): the version without a number, delivered 2026-11-24 18:40:00 UTC (0s ago)
  source      policy-events/3, offset 1
  attempts    0

not readable: read receipt "held/x/DOI-7": unexpected end of JSON input
`, out.String())
}

func TestPrintMembers(t *testing.T) {
	t.Parallel()
	state := func(breaker string, oldest float64, held bool) receipt.State {
		s := receipt.State{Breaker: breaker, Held: held, OldestSeconds: oldest, InFlight: 2}
		if breaker == "open" {
			s.Failure = "push: connection refused"
		}
		return s
	}
	member := func(id string, api, db receipt.State) receipt.Member {
		return receipt.Member{
			ID: id, Version: "v1.0.0", Time: now.Add(-2 * time.Second), Partitions: make([]receipt.Partition, 4),
			Targets: map[string]receipt.State{"api": api, "db": db},
		}
	}
	s := &app.Status{Targets: []app.TargetStatus{{Target: "api"}, {Target: "db"}, {Target: "new"}}, Members: []receipt.Member{
		member("pod-0-1f", state("closed", 0, false), state("closed", 0, false)),
		member("pod-1-2e", state("open", 150, false), state("closed", 0, false)),
		member("pod-2-3d", state("closed", 7, true), state("closed", 0, false)),
	}}
	var out strings.Builder
	require.NoError(t, printMembers(&out, s, now))
	require.Equal(t, `
TARGET  BREAKER                         OLDEST WAITING  IN FLIGHT  FAILURE
api     closed (1), held (1), open (1)  2m              6          push: connection refused
db      closed                          -               6          -

MEMBER    RELEASE  PARTITIONS  SEEN
pod-0-1f  v1.0.0   4           2s ago
pod-1-2e  v1.0.0   4           2s ago
pod-2-3d  v1.0.0   4           2s ago
`, out.String())
	out.Reset()
	require.NoError(t, printMembers(&out, &app.Status{MembersUnknown: "describe topic: away"}, now))
	require.Equal(t, "\nmembers unknown: describe topic: away\n", out.String())
}
