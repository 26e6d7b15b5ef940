package app

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
)

func TestReadPolicy(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config(targets + "  broken: {connector: file, path: @dir/x.jsonl, when: \"1 / (event.version - 2) < 0\"}\n")
	p.running(cfg)
	p.produce(cfg,
		oneLine(policy("P-1", 1, "policyCreated")), oneLine(policy("P-1", 3, "policyUpdated")),
		oneLine(policy("P-2", 2, "policyArchived")), `{"key": "P-3", "value": null}`)
	eventually(t, "all is settled and committed", func() bool { return p.lag(cfg) == 0 })
	// What a target that has left the config had, and what a former owner says late.
	w, err := kafka.NewReceipts(cfg.Kafka, cfg.Receipts.Topic, discard)
	require.NoError(t, err)
	defer w.Close()
	now := read(t, p, "P-1")["ledger"].Held
	late := *now
	late.Version, late.Source.Offset, late.Time = 1, now.Source.Offset-1, now.Time.Add(-time.Second)
	_, err = w.Write(t.Context(), []receipt.Receipt{late, {Target: "gone", Key: "P-1", Outcome: receipt.Stale}})
	require.NoError(t, err)
	stranger, err := kgo.NewClient(kgo.SeedBrokers(p.broker.ListenAddrs()...), kgo.DefaultProduceTopic(cfg.Receipts.Topic))
	require.NoError(t, err)
	defer stranger.Close()
	require.NoError(t, stranger.ProduceSync(t.Context(), &kgo.Record{Key: []byte("note/of/a later release")}).FirstErr())

	said := func(key string) map[string]string {
		found := map[string]string{}
		for name, s := range read(t, p, key) {
			text := []string{s.Outcome}
			for _, r := range []*receipt.Receipt{s.Held, s.Last} {
				if r != nil {
					text = append(text, versionText(r))
				}
			}
			found[name] = strings.Join(text, " ")
		}
		return found
	}
	require.Empty(t, cmp.Diff(map[string]string{
		"ledger": "delivered v3", "caseApi": "delivered v3", "broken": "delivered v1", "gone": "stale v0",
	}, said("P-1")))
	require.Empty(t, cmp.Diff(map[string]string{
		"ledger": "delivered v2", "caseApi": "", "broken": "dead-lettered v2: permanent",
	}, said("P-2")), "filtered out, and an error in when")
	require.Empty(t, cmp.Diff(map[string]string{
		"ledger": "delivered deleted", "caseApi": "delivered deleted", "broken": "delivered deleted",
	}, said("P-3")))
	require.Empty(t, cmp.Diff(map[string]string{"ledger": "", "caseApi": ""}, said("P-4")))

	_, err = ReadPolicy(t.Context(), p.config("receipts: off\n"+targets), "P-1", discard)
	require.ErrorIs(t, err, ErrReceiptsOff)
}

func read(t *testing.T, p *platform, key string) map[string]PolicyTarget {
	t.Helper()
	s, err := ReadPolicy(t.Context(), p.config(""), key, discard)
	require.NoError(t, err)
	require.Empty(t, s.Problems)
	found := map[string]PolicyTarget{}
	for _, target := range s.Targets {
		found[target.Target] = target
	}
	return found
}

func versionText(r *receipt.Receipt) string {
	text := "v" + string(rune('0'+r.Version))
	if r.Deleted {
		text = "deleted"
	}
	if r.Class != "" {
		text += ": " + r.Class
	}
	return text
}

// A member tells how it is while it runs, and no longer; also when nothing is kept of
// policies.
func TestMembersTellHowTheyAre(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"receipts": "", "no receipts": "receipts: off\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			cfg := p.config(head + targets)
			p.produce(cfg, oneLine(policy("P-1", 1, "policyArchived")))
			a := p.running(cfg)
			var m receipt.Member
			eventually(t, "it tells of its partitions and of what has settled", func() bool {
				s, err := ReadStatus(t.Context(), cfg, discard)
				require.NoError(t, err)
				require.Empty(t, s.MembersUnknown)
				if len(s.Members) != 1 {
					return false
				}
				m = s.Members[0]
				return len(m.Partitions) == 2 && m.Targets["ledger"].Settled["delivered"] == 1 && m.Targets["caseApi"].Settled["filtered"] == 1
			})
			require.Equal(t, "test", m.Version)
			require.True(t, strings.HasPrefix(m.ID, m.Host+"-"))
			require.Equal(t, "closed", m.Targets["ledger"].Breaker)
			counted := int64(0)
			for _, n := range m.Targets["ledger"].Latency.Counts {
				counted += n
			}
			require.EqualValues(t, 1, counted)
			require.NoError(t, a.Stop(t.Context()))
			s, err := ReadStatus(t.Context(), cfg, discard)
			require.NoError(t, err)
			require.Empty(t, s.Members)
		})
	}
}
