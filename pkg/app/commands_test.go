package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/connectors"
	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
)

func TestReadStatus(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config("")
	_, err := CreateTopics(t.Context(), cfg, discard)
	require.NoError(t, err)
	for n := range 6 {
		p.produce(cfg, oneLine(policy(fmt.Sprintf("P-%d", n), 1, "policyCreated")))
	}
	var ends [2]int64
	for i, info := range p.broker.PartitionInfos("policies") {
		ends[i] = info.HighWatermark
	}
	lane := func(partition int32, next int64) LaneStatus {
		return LaneStatus{Topic: "policies", Partition: partition, Next: next, End: ends[partition], Lag: ends[partition] - max(next, 0)}
	}
	read := func(cfg *config.Config) *Status {
		t.Helper()
		s, err := ReadStatus(t.Context(), cfg, discard)
		require.NoError(t, err)
		return s
	}
	require.Empty(t, cmp.Diff(&Status{Group: "sync", Members: []receipt.Member{}, Targets: []TargetStatus{
		{Target: "ledger", Configured: true, Lag: 6, Lanes: []LaneStatus{lane(0, -1), lane(1, -1)}},
		{Target: "caseApi", Configured: true, Lag: 6, Lanes: []LaneStatus{lane(0, -1), lane(1, -1)}},
	}}, read(cfg)), "before the first commit")

	a := p.running(cfg)
	eventually(t, "all is committed", func() bool { return p.lag(cfg) == 0 })
	require.NoError(t, a.Stop(t.Context()))
	renamed := p.config(strings.Replace(targets, "caseApi", "newApi", 1))
	require.Empty(t, cmp.Diff(&Status{Group: "sync", Members: []receipt.Member{}, Targets: []TargetStatus{
		{Target: "ledger", Configured: true, Lanes: []LaneStatus{lane(0, ends[0]), lane(1, ends[1])}},
		// A new target would start where the furthest of the others is.
		{Target: "newApi", Configured: true, Lanes: []LaneStatus{lane(0, ends[0]), lane(1, ends[1])}},
		{Target: "caseApi", Lanes: []LaneStatus{lane(0, ends[0]), lane(1, ends[1])}},
	}}, read(renamed)), "a target that only the commits know")

	// Kafka's own tool moves an offset and drops the cursors.
	client, err := kgo.NewClient(kgo.SeedBrokers(p.broker.ListenAddrs()...))
	require.NoError(t, err)
	defer client.Close()
	var reset kadm.Offsets
	reset.AddOffset("policies", 0, 0, -1)
	require.NoError(t, kadm.NewClient(client).CommitAllOffsets(t.Context(), "sync", reset))
	s := read(cfg)
	require.Equal(t, ends[0], s.Targets[0].Lag)
	require.Equal(t, []string{"policies/0: cursors not usable: committed offset 0: no checkpoint"}, s.Problems)
}

// Offsets that have settled above the lowest one, or that the log has lost, are no
// lag; a new target starts where the furthest of the others is.
func TestStatusOfAPartition(t *testing.T) {
	t.Parallel()
	slow := checkpoint.New(3)
	require.NoError(t, slow.Settle(12))
	s := &Status{Targets: []TargetStatus{{Target: "slow", Configured: true}, {Target: "new", Configured: true}}}
	s.add(&kafka.PartitionProgress{
		Start: 5, End: 30, Committed: 3,
		Lanes: []checkpoint.Lane{{Name: "slow", Cursor: slow}, {Name: "gone", Cursor: checkpoint.New(20)}},
	})
	require.Empty(t, cmp.Diff([]TargetStatus{
		{Target: "slow", Configured: true, Lag: 24, Lanes: []LaneStatus{{Next: 3, Ahead: 1, End: 30, Lag: 24}}},
		{Target: "new", Configured: true, Lag: 10, Lanes: []LaneStatus{{Next: 20, End: 30, Lag: 10}}},
		{Target: "gone", Lag: 10, Lanes: []LaneStatus{{Next: 20, End: 30, Lag: 10}}},
	}, s.Targets))
	require.Equal(t, []string{"/0: lost before delivery: the log starts at 5, target slow was at 3"}, s.Problems)
}

// What the log no longer has, or never had, is told before a member starts and acts on it.
func TestStatusOfACutLog(t *testing.T) {
	t.Parallel()
	beyond := checkpoint.New(3)
	require.NoError(t, beyond.Settle(12))
	for _, row := range []struct {
		committed int64
		cursor    *checkpoint.Cursor
		want      string
	}{
		{3, beyond, "policies/1: the log was cut: it ends at 10, and target slow has settled up to 12"},
		{20, checkpoint.New(20), "policies/1: the log was cut: it ends at 10, and the committed offset is 20"},
	} {
		s := &Status{Targets: []TargetStatus{{Target: "slow", Configured: true}}}
		s.add(&kafka.PartitionProgress{
			Topic: "policies", Partition: 1, End: 10, Committed: row.committed, Lanes: []checkpoint.Lane{{Name: "slow", Cursor: row.cursor}},
		})
		require.Equal(t, []string{row.want}, s.Problems)
	}
}

// A target that is gone keeps its cursors until it is forgotten, which takes a group
// without members; the others keep theirs.
func TestTargets(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config("")
	known, err := KnownTargets(t.Context(), cfg, discard)
	require.NoError(t, err)
	require.Empty(t, known)
	for n := range 6 {
		p.produce(cfg, oneLine(policy(fmt.Sprintf("P-%d", n), 1, "policyCreated")))
	}
	a := p.running(cfg)
	eventually(t, "all is committed", func() bool { return p.lag(cfg) == 0 })

	renamed := p.config(strings.Replace(targets, "caseApi", "newApi", 1))
	_, err = ForgetTarget(t.Context(), renamed, "caseApi", discard)
	require.ErrorIs(t, err, kafka.ErrMembers)
	require.NoError(t, a.Stop(t.Context()))
	_, err = ForgetTarget(t.Context(), cfg, "caseApi", discard)
	require.ErrorAs(t, err, new(*ConfiguredError))

	before, err := KnownTargets(t.Context(), renamed, discard)
	require.NoError(t, err)
	require.Len(t, before, 2)
	require.Equal(t, []any{"caseApi", false, "ledger", true},
		[]any{before[0].Target, before[0].Configured, before[1].Target, before[1].Configured})
	untold := p.config("control: {topic: none}\n" + strings.Replace(targets, "caseApi", "newApi", 1))
	_, err = ForgetTarget(t.Context(), untold, "caseApi", discard)
	require.Error(t, err, "nobody would know who did it")
	n, err := ForgetTarget(t.Context(), renamed, "caseApi", discard)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	after, err := KnownTargets(t.Context(), renamed, discard)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(before[1:], after))
	told, err := ReadCommands(t.Context(), renamed, discard)
	require.NoError(t, err)
	require.Len(t, told.Done, 1)
	require.Equal(t, []string{control.DoneForget, "caseApi", Origin("").By}, []string{told.Done[0].What, told.Done[0].Target, told.Done[0].By})
	n, err = ForgetTarget(t.Context(), renamed, "caseApi", discard)
	require.NoError(t, err)
	require.Zero(t, n)
	again, err := ReadCommands(t.Context(), renamed, discard)
	require.NoError(t, err)
	require.Equal(t, told.Done, again.Done, "nothing was done, and nothing is told")
}

func TestProduceNamesTheBadLine(t *testing.T) {
	t.Parallel()
	good := oneLine(policy("P-1", 1, "policyCreated"))
	for _, row := range []struct {
		name, lines, want string
		written           int
	}{
		{"no JSON", good + "\n\n{", `line 3: want {"key": "…", "value": {…}}: unexpected EOF`, 1},
		{"an unknown key", `{"kye": "P-1"}`, `line 1: want {"key": "…", "value": {…}}: json: unknown field "kye"`, 0},
		{"no value", `{"key": "P-1"}`, `line 1: "value" is missing; null is a tombstone`, 0},
		{"two objects", good + good, `line 1: want {"key": "…", "value": {…}}: there is more after the object`, 0},
		{"a field of another type", good + "\n" + strings.Replace(good, `"version": 1`, `"version": "one"`, 1), "line 2: value: encode: ", 1},
		{"a line without end", good + "\n" + strings.Repeat("x", maxLine+1), "read line 2: bufio.Scanner: token too long", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			written, err := Produce(t.Context(), p.config(""), "policies", strings.NewReader(row.lines), "test", discard)
			require.ErrorContains(t, err, row.want)
			require.Len(t, written, row.written)
		})
	}
	t.Run("a topic without a schema", func(t *testing.T) {
		t.Parallel()
		p := newPlatform(t)
		_, err := Produce(t.Context(), p.config(""), "processes", strings.NewReader(good), "test", discard)
		require.ErrorContains(t, err, `the registry has no subject "processes-value"`)
	})
}

func TestPreview(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	preview := func(target, text string) (*Preview, error) {
		preview, err := NewPreviewer(t.Context(), p.config(""), connectors.Builtin(), discard)
		require.NoError(t, err)
		record, err := preview.Line(t.Context(), "", []byte(text))
		require.NoError(t, err)
		return preview.Preview(t.Context(), target, record)
	}
	version := int64(3)
	for _, row := range []struct {
		name, target, text string
		want               Preview
	}{
		{
			"mapped", "ledger", policy("P-1", 3, "policyArchived"),
			Preview{Delivered: true, Key: "P-1", Version: &version},
		},
		{"filtered", "caseApi", policy("P-1", 3, "policyArchived"), Preview{Key: "P-1", Version: &version}},
		{"tombstone", "ledger", `{"key": "P-1", "value": null}`, Preview{Delivered: true, Key: "P-1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := preview(row.target, row.text)
			require.NoError(t, err)
			row.want.Target = row.target
			require.Empty(t, cmp.Diff(row.want, *got, cmpopts.IgnoreFields(Preview{}, "Document")))
			require.Equal(t, row.want.Delivered, got.Document != nil)
		})
	}
	got, err := preview("ledger", policy("P-1", 3, "policyUpdated"))
	require.NoError(t, err)
	require.Contains(t, string(got.Document), `"document":{"id":"P-1","rules":["report"]}`)
	_, err = preview("legder", policy("P-1", 3, "policyUpdated"))
	require.ErrorIs(t, err, ErrNoTarget)
	require.Empty(t, p.api.received(), "a preview sends nothing")
	require.Empty(t, p.ledger())
}

func TestConnect(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	cfg := p.config(targets + "  away: {connector: http, url: \"http://127.0.0.1:1\", delete: ignore}\n")
	answers := func() map[string]string {
		found := map[string]string{}
		for _, f := range Connect(t.Context(), cfg, connectors.Builtin(), discard) {
			found[f.Part] = f.Message
			require.Equal(t, f.Err != nil, f.Message != "")
		}
		return found
	}
	found := answers()
	require.Equal(t, "topics do not exist: sync.dead-letters, sync.receipts, sync.control", found["kafka"])
	require.Contains(t, found["target away"], "connection refused")
	_, err := CreateTopics(t.Context(), cfg, discard)
	require.NoError(t, err)
	found = answers()
	delete(found, "target away")
	require.Equal(t, map[string]string{"kafka": "", "schemas": "", "target ledger": "", "target caseApi": ""}, found)

	p.registry.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	found = answers()
	require.Contains(t, found["schemas"], "status 401")
	require.Len(t, found, 2, "what a target needs is not known without the schemas")
}

// What waiting can't mend ends the wait; everything else is asked for again.
func TestPersist(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	a := p.service(p.config(""))
	tries := 0
	err := a.persist(t.Context(), "part", func(context.Context) error {
		if tries++; tries < 2 {
			return &decode.UnavailableError{Err: context.DeadlineExceeded}
		}
		return &config.Error{}
	})
	var mistakes *config.Error
	require.ErrorAs(t, err, &mistakes)
	require.Equal(t, 2, tries)
}
