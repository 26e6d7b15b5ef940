//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// One push is one trace: from the producer's span, through processing, delivery and
// attempt, to the call of the API, which is given the trace too.
func TestOnePushIsOneTrace(t *testing.T) {
	w := newWorld(t, 1)
	w.configure("  api: {connector: scheduling, url: \"@api/v1/rules\", timeout: 4s}\n")
	var traceparent string
	w.api.Answer(func(r *http.Request) (int, string) {
		if r.Header.Get("Idempotency-Key") != "" {
			traceparent = r.Header.Get("Traceparent")
		}
		return 0, ""
	})
	otel := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + address(t, "OTLP"), "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_METRICS_EXPORTER=none"}
	m := w.start(otel...)
	line := `{"key":"P-1","value":{"eventId":"P-1-v1","type":"policyCreated","occurredAt":"2026-11-01T08:00:00Z","version":1,"target":null,` +
		`"payload":{"policyId":"P-1","agencyId":"DOI","name":"Weekend Inspections","status":"active","effectiveFrom":null,"effectiveTo":null,"rules":[]}}}`
	produce := exec.Command(filepath.Join(bin, "policysync"), "produce", "-c", w.file, "--topic", w.topic)
	produce.Env = append(os.Environ(), otel...)
	produce.Stdin = strings.NewReader(line)
	out, err := produce.CombinedOutput()
	require.NoError(t, err, "%s", out)
	w.settles(30 * time.Second)
	m.stop() // sends the spans that wait

	id := strings.Split(traceparent, "-")[1]
	var spans []span
	w.eventually("the backend has the trace", time.Minute, func() bool {
		spans = w.trace(id)
		return len(spans) == 5
	})
	names := chain(spans)
	t.Logf("trace %s: %s", id, strings.Join(names, " → "))
	require.Equal(t, []string{"send " + w.topic, "process " + w.topic, "deliver api", "attempt", "POST"}, names)
}

// span is one of the backend's answer.
type span struct {
	ID         string `json:"spanID"`
	Name       string `json:"operationName"`
	References []struct {
		SpanID string `json:"spanID"`
	} `json:"references"`
}

// trace asks Jaeger.
func (w *world) trace(id string) []span {
	w.t.Helper()
	resp, err := http.Get(fmt.Sprintf("%s/api/traces/%s", address(w.t, "JAEGER"), id))
	require.NoError(w.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	var answer struct {
		Data []struct {
			Spans []span `json:"spans"`
		} `json:"data"`
	}
	if json.Unmarshal(text, &answer) != nil || len(answer.Data) == 0 {
		return nil
	}
	return answer.Data[0].Spans
}

// chain returns the names from the root down, each the parent of the next.
func chain(spans []span) []string {
	var names []string
	parent := ""
	for {
		i := slices.IndexFunc(spans, func(s span) bool {
			return len(s.References) == 0 && parent == "" || len(s.References) > 0 && s.References[0].SpanID == parent
		})
		if i < 0 {
			return names
		}
		names = append(names, spans[i].Name)
		parent = spans[i].ID
	}
}
