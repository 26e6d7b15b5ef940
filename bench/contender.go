package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// work is what a contender has to do.
type work struct {
	Kafka       string   `json:"kafka"`
	Registry    string   `json:"registry"`
	Topic       string   `json:"topic"`
	Group       string   `json:"group"`
	Events      int      `json:"events"`
	Keys        int      `json:"keys"`
	Concurrency int      `json:"concurrency"`
	URLs        []string `json:"urls"` // one for each target
	// Down is the one of them that gives no answer; Extra is more of its config.
	Down  string `json:"down"`
	Extra string `json:"extra"`
	// Health is where policysync tells its metrics.
	Health string `json:"health"`
}

const policysyncConfig = `
kafka: {brokers: ["@kafka"], group: "@group", topics: ["@topic"], instance_id: "${INSTANCE:}"}
schemas: {registry: {url: "@registry"}}
dead_letters: {topic: "@group-letters"}
health: {listen: "${HEALTH:@health}"}
targets:
`

const policysyncTarget = `  @name:
    connector: http
    url: "@url"
    delete: ignore
    concurrency: @concurrency
    map: {eventId: event.eventId, policyId: event.payload.policyId, version: event.version, title: event.payload.name, text: "event.payload.rules[0].text"}
`

func (w *work) policysync() string {
	var text strings.Builder
	text.WriteString(policysyncConfig)
	for i, url := range w.URLs {
		text.WriteString(strings.NewReplacer("@name", fmt.Sprintf("target%d", i), "@url", url).Replace(policysyncTarget))
		if url == w.Down {
			text.WriteString(w.Extra)
		}
	}
	return w.fill(text.String())
}

const benthosConfig = `
http: {enabled: false}
logger: {level: "OFF"}
input:
  kafka_franz:
    seed_brokers: ["@kafka"]
    topics: ["@topic"]
    consumer_group: "@group"
    checkpoint_limit: 10000
    commit_period: 1s
pipeline:
  processors:
    - schema_registry_decode: {url: "@registry"}
    - mapping: |
        root.eventId = this.eventId
        root.policyId = this.payload.policyId
        root.version = this.version
        root.title = this.payload.name
        root.text = this.payload.rules.0.text
output:
  broker:
    pattern: fan_out
    outputs:
`

const benthosTarget = `      - http_client: {url: "@url", verb: POST, max_in_flight: @concurrency, retry_period: 100ms, retries: 1000000}
`

func (w *work) benthos() string {
	outputs := make([]string, len(w.URLs))
	for i, url := range w.URLs {
		outputs[i] = strings.ReplaceAll(benthosTarget, "@url", url)
	}
	return w.fill(benthosConfig + strings.Join(outputs, ""))
}

func (w *work) fill(text string) string {
	return strings.NewReplacer("@kafka", w.Kafka, "@registry", w.Registry, "@topic", w.Topic, "@group", w.Group,
		"@concurrency", strconv.Itoa(w.Concurrency), "@health", w.Health).Replace(text)
}

// told is what the contender of a name reads.
func (w *work) told(name string) []byte {
	switch name {
	case "policysync":
		return []byte(w.policysync())
	case "benthos":
		return []byte(w.benthos())
	}
	text, err := json.Marshal(w)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	return text
}

// contender is a running process.
type contender struct {
	name, health string
	cmd          *exec.Cmd
	began        time.Time
}

// start starts a contender. A member is one of several of its kind.
func (b *bench) start(ctx context.Context, name string, w *work, member int) (*contender, error) {
	file := filepath.Join(b.dir, name+w.Group)
	if member == 0 {
		if err := os.WriteFile(file, w.told(name), 0o600); err != nil {
			return nil, err
		}
	}
	c := &contender{name: name, health: w.Health}
	//nolint:gosec // the programs to measure
	switch name {
	case "policysync":
		if member == 0 {
			if out, err := exec.CommandContext(ctx, b.policysync, "topics", "create", "-c", file).CombinedOutput(); err != nil {
				return nil, fmt.Errorf("%w: %s", err, out)
			}
		}
		c.cmd = exec.CommandContext(ctx, b.policysync, "run", "-c", file, "--log-level", "error")
		c.cmd.Env = append(os.Environ(), "HEALTH="+c.health, fmt.Sprintf("INSTANCE=%s-%d", w.Group, member))
	case "benthos":
		c.cmd = exec.CommandContext(ctx, b.benthos, "-c", file)
	case "parallel-consumer":
		c.cmd = exec.CommandContext(ctx, "java", "-cp", b.parallelConsumer+"/*", "Peer", file)
	default:
		c.cmd = exec.CommandContext(ctx, os.Args[0], name, file)
	}
	c.cmd.Stderr, c.began = os.Stderr, time.Now()
	return c, c.cmd.Start()
}

// end stops a contender. How it ends says nothing about its figures.
func (c *contender) end() {
	signal := os.Interrupt
	if c.name == "bare" || c.name == "loop" {
		signal = os.Kill
	}
	_ = c.cmd.Process.Signal(signal)
	kill := time.AfterFunc(20*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	_ = c.cmd.Wait()
}

// used is the CPU time of a contender that ended.
func (c *contender) used() time.Duration {
	return c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()
}

// peak is the most resident memory in MiB that a running contender has had. What the
// system says of one that ended counts this program's own, of which it was forked.
func (c *contender) peak() float64 { return c.proc("status", "VmHWM:") / 1024 }

// resident is the memory in MiB that a running contender has now.
func (c *contender) resident() float64 { return c.proc("status", "VmRSS:") / 1024 }

// read is how many bytes a running contender has read, from sockets and files.
func (c *contender) read() float64 { return c.proc("io", "rchar:") }

func (c *contender) proc(file, field string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.cmd.Process.Pid, file))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), field)
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	v, _ := strconv.ParseFloat(fields[0], 64) // a number, by the kernel's word
	return v
}

// metrics asks policysync for the sum of each metric over its labels.
func (c *contender) metrics(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.health+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	sums := map[string]float64{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			sums[name] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			if h := m.GetHistogram(); h != nil {
				sums[name+"_sum"] += h.GetSampleSum()
				sums[name+"_count"] += float64(h.GetSampleCount())
			}
		}
	}
	return sums, err
}
