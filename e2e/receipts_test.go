//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// policy is what `policysync status --key` says.
func (w *world) policy(key string) map[string]app.PolicyTarget {
	w.t.Helper()
	var s struct {
		Targets []struct {
			Target, Outcome string
			Held, Last      json.RawMessage
		}
	}
	require.NoError(w.t, json.Unmarshal([]byte(w.policysync("status", "-c", w.file, "--key", key, "--json")), &s))
	found := map[string]app.PolicyTarget{}
	for _, t := range s.Targets {
		p := app.PolicyTarget{Target: t.Target, Outcome: t.Outcome}
		for kind, value := range map[string]json.RawMessage{"held": t.Held, "last": t.Last} {
			if value == nil {
				continue
			}
			r, err := receipt.Decode([]byte(kind+"/"+t.Target+"/"+key), value)
			require.NoError(w.t, err)
			if kind == "held" {
				p.Held = r
			} else {
				p.Last = r
			}
		}
		found[t.Target] = p
	}
	return found
}

// For any policy: which version each target has, under which trace, or why not.
func TestStatusProvesWhatEachTargetHas(t *testing.T) {
	const policies, versions = 50, 3
	w := newWorld(t, 4)
	w.configure(three)
	traces, mu := map[string]string{}, sync.Mutex{}
	w.api.Answer(func(r *http.Request) (int, string) {
		if r.Header.Get("Policysync-Key") == key(7) && r.Header.Get("Policysync-Version") == "3" {
			return http.StatusUnprocessableEntity, ""
		}
		mu.Lock()
		defer mu.Unlock()
		traces[r.Header.Get("Policysync-Key")+" v"+r.Header.Get("Policysync-Version")] = strings.Split(r.Header.Get("Traceparent")+"--", "-")[1]
		return 0, ""
	})
	w.publish(policies, 1, versions)
	w.start("OTEL_EXPORTER_OTLP_ENDPOINT="+address(t, "OTLP"), "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_METRICS_EXPORTER=none")
	w.settles(time.Minute)

	targets := []string{"api", "database_" + w.id(), "warehouse"}
	for n := range policies {
		if n == 7 {
			continue
		}
		p := w.policy(key(n))
		require.Len(t, p, 3)
		for _, target := range targets {
			require.Equal(t, receipt.Delivered, p[target].Outcome, target)
			require.EqualValues(t, versions, p[target].Held.Version, target)
			require.Len(t, p[target].Held.Trace, 32)
			require.Equal(t, traces[key(n)+" v3"], p[target].Held.Trace, "one event is one trace: %s", target)
			require.Nil(t, p[target].Last)
		}
	}
	p := w.policy(key(7))
	refused := p["api"]
	require.Equal(t, receipt.DeadLettered, refused.Outcome)
	require.EqualValues(t, 2, refused.Held.Version, "it has the one before")
	require.EqualValues(t, 3, refused.Last.Version)
	require.Equal(t, "permanent", refused.Last.Class)
	require.Contains(t, refused.Last.Error, "422")
	letters := w.letters()
	require.Len(t, letters, 1)
	require.Equal(t, header(letters[0], "policysync.id"), refused.Last.Letter)
	require.EqualValues(t, 3, p["warehouse"].Held.Version, "the others have it")
	t.Logf("\n%s", w.policysync("status", "-c", w.file, "--key", key(7)))
	t.Logf("\n%s", w.policysync("status", "-c", w.file))
}

// After kill -9 at any moment, whatever the commits call settled has its receipt.
func TestKillLeavesNoCommitWithoutReceipt(t *testing.T) {
	const policies, versions = 2000, 10
	w := newWorld(t, 4)
	w.configure(three)
	w.publish(policies, 1, versions)
	keys := map[int32]map[int64]string{}
	for _, r := range w.all(w.topic) {
		if keys[r.Partition] == nil {
			keys[r.Partition] = map[int64]string{}
		}
		keys[r.Partition][r.Offset] = string(r.Key)
	}
	for kill := 1; kill <= 4; kill++ {
		m := w.start()
		enough := w.api.Arrivals().Applied + policies
		w.eventually("some more have arrived", time.Minute, func() bool { return w.api.Arrivals().Applied > enough })
		m.kill()
		committed, unproven := w.unproven(keys)
		t.Logf("kill %d: %d committed deliveries, %d of them without receipt", kill, committed, len(unproven))
		require.Positive(t, committed)
		require.Empty(t, unproven)
	}
}

// unproven counts the deliveries that the commits call settled, and names those of
// which no receipt tells.
func (w *world) unproven(keys map[int32]map[int64]string) (committed int, unproven []string) {
	w.t.Helper()
	highest := map[string]int64{} // target and key to the source offset
	for _, r := range w.all(w.topic + ".receipts") {
		if rec, err := receipt.Decode(r.Key, r.Value); err == nil {
			at := rec.Target + " " + rec.Key
			highest[at] = max(highest[at], rec.Source.Offset+1)
		}
	}
	topics, err := w.adm.ListTopics(w.t.Context(), w.topic)
	require.NoError(w.t, err)
	commits, err := w.adm.FetchOffsets(w.t.Context(), w.topic)
	require.NoError(w.t, err)
	for partition, byOffset := range keys {
		c, ok := commits.Lookup(w.topic, partition)
		if !ok {
			continue
		}
		cp, err := checkpoint.Decode(c.Metadata, c.At, event.TopicID(topics[w.topic].ID))
		require.NoError(w.t, err)
		for _, lane := range cp.Lanes {
			for offset, key := range byOffset {
				if !lane.Cursor.Settled(offset) {
					continue
				}
				committed++
				if highest[lane.Name+" "+key] <= offset {
					unproven = append(unproven, lane.Name+" "+key)
				}
			}
		}
	}
	slices.Sort(unproven)
	return committed, unproven
}
