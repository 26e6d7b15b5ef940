package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/control"
)

type letterList struct {
	Count   int
	Letters []app.LetterDocument
	Groups  []app.LetterCount
}

// TestWhyAndMakeItSo is what the console is for: a policy did not arrive, the operator
// sees why, and settles it; what they did carries their name.
func TestWhyAndMakeItSo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.refusing.Store(true)
	r.publish("P-1", 1)
	r.publish("P-2", 1)

	letter := r.happened("P-2", "caseApi", "dead-lettered")
	require.Contains(t, letter.Error, "status 422")
	require.EqualValues(t, 1, *letter.Version)
	require.Equal(t, "delivered", r.happened("P-2", "ledger", "delivered").What)
	r.target("caseApi", "one letter is counted", func(t *Target) bool {
		return t.Letters == 1 && t.State == "closed" && t.Settled["delivered"] == 1
	})

	var event app.EventView
	r.get("/api/event?topic=policies&partition="+string('0'+letter.Partition)+"&offset="+strconv.FormatInt(letter.Offset, 10), &event)
	require.Equal(t, "P-2", *event.Key)
	require.Contains(t, string(event.Documents[1].Document), `"body":{"title":"Weekend Inspections"}`)

	var list letterList
	r.get("/api/letters?target=caseApi&class=permanent&key=P-2&since=1h&error=422", &list)
	require.Equal(t, 1, list.Count)
	require.Equal(t, letter.Letter, list.Letters[0].ID)
	require.Equal(t, 1, list.Groups[0].Count)
	r.get("/api/letters?key=P-1", &list)
	require.Zero(t, list.Count)
	var shown app.LetterView
	r.get("/api/letter?id="+url.QueryEscape(letter.Letter), &shown)
	require.JSONEq(t, string(event.Documents[1].Document), string(shown.Document))

	var dry struct{ Redrives []app.RedriveStatus }
	r.ask(boss, http.MethodPost, "/api/redrive", `{"target": "caseApi", "dry_run": true}`, &dry)
	require.Equal(t, 1, dry.Redrives[0].Left)
	require.Equal(t, http.StatusBadRequest, r.ask(boss, http.MethodPost, "/api/redrive", `{}`, nil), "never all by mistake")
	require.Equal(t, http.StatusBadRequest, r.ask(boss, http.MethodPost, "/api/discard", `{"ids": ["`+letter.Letter+`"]}`, nil), "without a reason")
	r.do("/api/discard", `{"ids": ["`+letter.Letter+`"], "reason": "entered by hand"}`)
	gone := r.happened("P-2", "caseApi", "discarded")
	require.Equal(t, []string{"boss", "entered by hand"}, []string{gone.By, gone.Reason})
	var commands app.Commands
	r.get("/api/commands", &commands)
	require.Equal(t, []string{"discard", "boss", "entered by hand"}, []string{commands.Done[0].What, commands.Done[0].By, commands.Done[0].Reason})
	require.Equal(t, []string{letter.Letter}, commands.Done[0].Letters)
	r.target("caseApi", "it counts no more", func(t *Target) bool { return t.Letters == 0 })
}

// A target that is paused has versions wait, and says who did it.
func TestPauseAndReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish("P-1", 1)
	first := r.happened("P-1", "caseApi", "delivered")
	r.do("/api/pause", `{"target": "caseApi", "reason": "maintenance"}`)
	r.target("caseApi", "it is paused", func(t *Target) bool { return t.State == "paused" && t.Breakers[0].State == "paused" })
	var commands app.Commands
	r.get("/api/commands", &commands)
	require.Equal(t, []string{"caseApi", "boss", "maintenance"},
		[]string{commands.Pauses[0].Target, commands.Pauses[0].By, commands.Pauses[0].Reason})
	r.publish("P-1", 2)
	waiting := r.happened("P-1", "caseApi", app.Waiting)
	require.EqualValues(t, 2, *waiting.Version)
	r.target("caseApi", "it lags", func(t *Target) bool { return t.Lag == 1 })
	r.do("/api/resume", `{"target": "caseApi", "accept_dead_letters": true}`)
	r.target("caseApi", "it delivers again", func(t *Target) bool { return t.State == "closed" && t.Lag == 0 })

	for _, from := range []string{"", "yesterday", "policie/0:1"} {
		require.Equal(t, http.StatusBadRequest, r.ask(boss, http.MethodPost, "/api/replay", `{"target": "caseApi", "from": "`+from+`"}`, nil), from)
	}
	var would struct{ Partitions []app.ReplayCount }
	r.ask(boss, http.MethodPost, "/api/replay", `{"target": "caseApi", "from": "earliest", "dry_run": true}`, &would)
	require.EqualValues(t, 2, *would.Partitions[0].Events+*would.Partitions[1].Events)
	require.EqualValues(t, 1, *would.Partitions[0].Policies+*would.Partitions[1].Policies)
	r.get("/api/commands", &commands)
	require.Empty(t, commands.Replays)
	r.do("/api/replay", `{"target": "caseApi", "from": "earliest", "reason": "lost a backup"}`)
	r.get("/api/commands", &commands)
	require.Equal(t, "boss", commands.Replays[0].By)
	require.Eventually(t, func() bool {
		var p app.PolicyTimeline
		r.get("/api/policy?key=P-1", &p)
		return p.Targets[1].Held.Version == 2 && p.Targets[1].Held.Time.After(first.Time)
	}, patience, 50*time.Millisecond, "the newest version is pushed again")
}

// One policy is pushed again to one target, and a command that nobody has obeyed is
// cancelled, both in the name of who did it.
func TestPushAndCancel(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish("P-1", 1)
	first := r.happened("P-1", "ledger", "delivered")
	require.Equal(t, http.StatusBadRequest, r.ask(boss, http.MethodPost, "/api/push", `{"target": "ledger"}`, nil))
	require.Equal(t, http.StatusNotFound, r.ask(boss, http.MethodPost, "/api/push", `{"target": "ledger", "key": "P-9"}`, nil))
	var push app.PushStatus
	r.ask(boss, http.MethodPost, "/api/push", `{"target": "ledger", "key": "P-1", "reason": "deleted there"}`, &push)
	require.Equal(t, []string{"boss", "deleted there", "P-1"}, []string{push.By, push.Reason, push.PolicyKey})
	require.Eventually(t, func() bool {
		var p app.PolicyTimeline
		r.get("/api/policy?key=P-1", &p)
		return p.Targets[0].Held.Time.After(first.Time)
	}, patience, 50*time.Millisecond, "it is pushed again")

	r.do("/api/pause", `{"target": "ledger"}`)
	r.target("ledger", "it is paused", func(t *Target) bool { return t.State == "paused" })
	var replay control.Replay
	r.ask(boss, http.MethodPost, "/api/replay", `{"target": "ledger", "from": "earliest"}`, &replay)
	var commands app.Commands
	r.get("/api/commands", &commands)
	r.do("/api/cancel", `{"id": "`+commands.Replays[0].ID+`", "reason": "by mistake"}`)
	id := commands.Replays[0].ID
	r.get("/api/commands", &commands)
	require.Empty(t, commands.Replays)
	require.Equal(t, []string{"cancel", id, "boss", "by mistake"},
		[]string{commands.Done[0].What, commands.Done[0].Command, commands.Done[0].By, commands.Done[0].Reason})
	require.Equal(t, http.StatusNotFound, r.ask(boss, http.MethodPost, "/api/cancel", `{"id": "`+id+`"}`, nil))
}

// TestChangesNothing is the promise: what an anonymous, a viewer and a forger ask for
// reaches no topic.
func TestChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.refusing.Store(true)
	r.publish("P-2", 1)
	letter := r.happened("P-2", "caseApi", "dead-lettered").Letter
	// It is of a partition that nobody owns, so it stands.
	push := &control.Push{ID: "p1", Target: "ledger", Topic: "processes"}
	require.NoError(t, app.Command(t.Context(), r.cfg, "ledger", push, discard))
	for path, body := range map[string]string{
		"/api/pause":   `{"target": "caseApi"}`,
		"/api/resume":  `{"target": "caseApi", "accept_dead_letters": true}`,
		"/api/replay":  `{"target": "caseApi", "from": "earliest"}`,
		"/api/redrive": `{"target": "caseApi"}`,
		"/api/discard": `{"ids": ["` + letter + `"], "reason": "x"}`,
		"/api/push":    `{"target": "ledger", "key": "P-2"}`,
		"/api/cancel":  `{"id": "` + push.ID + `"}`,
	} {
		require.Equal(t, http.StatusForbidden, r.ask(guest, http.MethodPost, path, body, nil), path)
		require.Equal(t, http.StatusUnauthorized, r.ask("", http.MethodPost, path, body, nil), path)
		for _, forged := range []string{"text/plain", "application/json"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.console.Addr()+path, nil)
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+boss)
			req.Header.Set("Content-Type", forged)
			req.Header.Set("Sec-Fetch-Site", "cross-site")
			resp, err := r.client.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			require.Equal(t, http.StatusForbidden, resp.StatusCode, path)
		}
	}
	var commands app.Commands
	r.get("/api/commands", &commands)
	require.Empty(t, commands.Pauses)
	require.Empty(t, commands.Accepted)
	require.Empty(t, commands.Replays)
	require.Empty(t, commands.Done)
	require.Len(t, commands.Pushes, 1)
	require.Equal(t, push.ID, commands.Pushes[0].ID)
	var list letterList
	r.get("/api/letters", &list)
	require.Equal(t, 1, list.Count)
}

// A list without anything is a list.
func TestEmptyLists(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	none, err := json.Marshal(newModel(r.cfg, r.console.adm, discard).last)
	require.NoError(t, err)
	answers := map[string]string{"the first snapshot": string(none)}
	for _, call := range []string{
		"GET /api/history", "GET /api/status", "GET /api/letters", "GET /api/commands", "GET /api/policy?key=P-1",
		`POST /api/redrive {"target": "ledger", "dry_run": true}`, `POST /api/discard {"ids": ["none"], "reason": "x"}`,
	} {
		method, path, _ := strings.Cut(call, " ")
		path, body, _ := strings.Cut(path, " ")
		var answer json.RawMessage
		r.ask(boss, method, path, body, &answer)
		answers[call] = string(answer)
	}
	for call, answer := range answers {
		require.NotContains(t, answer, "null", call)
	}
}

func TestWhatIsShown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	next := r.stream()
	s := next()
	for len(s.Lanes) == 0 || s.Lanes[0].Member == "" { // a member tells of its partitions with its second record
		s = next()
	}
	require.Len(t, s.Lanes, 4)
	require.Equal(t, s.Members[0].ID, s.Lanes[0].Member)

	var target struct{ Config string }
	r.get("/api/target?target=caseApi", &target)
	require.Contains(t, target.Config, "map: {title: event.payload.name}")
	require.NotContains(t, target.Config, "s3cret")
	var session map[string]any
	r.get("/api/session", &session)
	require.Equal(t, "boss operator https://traces.example/{trace}", session["name"].(string)+" "+session["role"].(string)+" "+session["trace_url"].(string))
	session = nil
	r.ask("", http.MethodGet, "/api/session", "", &session)
	require.Equal(t, map[string]any{"login": true, "open": false}, session, "a stranger learns nothing")
	require.Equal(t, http.StatusBadRequest, r.ask(boss, http.MethodGet, "/api/event?topic=sync.control&partition=0&offset=0", "", nil))
	require.Equal(t, http.StatusNotFound, r.ask(boss, http.MethodGet, "/api/target?target=none", "", nil))
	require.Equal(t, http.StatusNotFound, r.ask(boss, http.MethodPost, "/api/pause", `{"target": "none"}`, nil))
	require.Equal(t, http.StatusNotFound, r.ask(boss, http.MethodGet, "/api/nothing", "", nil))
	var past []json.RawMessage
	r.get("/api/history", &past)
	require.NotEmpty(t, past)
}

// A push, a replay's count and a policy's page read events at the same time, by the same
// expressions. Only the race detector sees it if one compiles them while another evaluates.
func TestCallsShareTheExpressions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish("P-1", 1)
	r.happened("P-1", "ledger", "delivered")
	var calls sync.WaitGroup
	for range 5 {
		calls.Go(func() { r.ask(boss, http.MethodGet, "/api/policy?key=P-1", "", nil) })
		calls.Go(func() { r.ask(boss, http.MethodPost, "/api/push", `{"target": "ledger", "key": "P-1"}`, nil) })
		calls.Go(func() {
			r.ask(boss, http.MethodPost, "/api/replay", `{"target": "ledger", "from": "earliest", "dry_run": true}`, nil)
		})
	}
	calls.Wait()
}
