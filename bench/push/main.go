// Command push measures events per second to one HTTP target beside a bare
// net/http client that posts the same bodies to the same server, in one run, on a
// real Kafka. `make bench-push` runs it; bench/README.md says what was seen.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/schemas"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "sink" {
		exit(serveSink())
	}
	b := &bench{}
	flag.StringVar(&b.binary, "policysync", "bin/policysync", "the binary to measure")
	flag.StringVar(&b.kafka, "kafka", os.Getenv("POLICYSYNC_E2E_KAFKA"), "the broker")
	flag.StringVar(&b.registry, "registry", os.Getenv("POLICYSYNC_E2E_REGISTRY"), "the schema registry")
	flag.IntVar(&b.events, "events", 100_000, "how many events")
	flag.IntVar(&b.concurrency, "concurrency", 200, "requests in flight")
	flag.Parse()
	exit(b.run(context.Background()))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "push:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type bench struct {
	binary, kafka, registry string
	events, concurrency     int
	sink                    string
	dir                     string
}

// figures are what one contender did.
type figures struct {
	Name      string  `json:"name"`
	Latency   string  `json:"server_latency"`
	PerSecond float64 `json:"events_per_second"`
	Ratio     float64 `json:"of_bare_client"`
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.kafka == "" || b.registry == "" {
		return errors.New("no servers: run it by `make bench-push`")
	}
	if b.dir, err = os.MkdirTemp("", "policysync-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	topic := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	if err := b.publish(ctx, topic); err != nil {
		return err
	}
	stop, err := b.startSink(ctx)
	if err != nil {
		return err
	}
	defer stop()
	var all []figures
	for _, latency := range []time.Duration{0, 10 * time.Millisecond} {
		events := b.events
		bare, err := b.measure(ctx, latency, events, func() error { return b.postBare(ctx, events) })
		if err != nil {
			return fmt.Errorf("bare client: %w", err)
		}
		all = append(all, figures{"bare net/http client", latency.String(), bare, 1})
		for name, receipts := range map[string]string{"policysync": "", "policysync, `receipts: off`": "receipts: off"} {
			ours, err := b.measure(ctx, latency, events, func() error { return b.drain(ctx, topic, latency, receipts) })
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			all = append(all, figures{name, latency.String(), ours, ours / bare})
		}
	}
	fmt.Printf("%d events of one HTTP target, %d requests in flight, 8 partitions\n\n", b.events, b.concurrency)
	fmt.Println("| server latency | client | events/s | of the bare client |\n|---|---|---|---|")
	for _, f := range all {
		fmt.Printf("| %s | %s | %.0f | %.2f |\n", f.Latency, f.Name, f.PerSecond, f.Ratio)
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

// body is an event's document of about 600 bytes, as the target gets it.
func body(n int) []byte {
	return fmt.Appendf(nil, `{"calendarId":"DOI","title":"Weekend Inspections %d","rules":["%s"]}`, n,
		strings.Repeat("report within 24 hours; ", 22))
}

// publish writes the events, of as many keys as a tenth of them.
func (b *bench) publish(ctx context.Context, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.kafka), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	if _, err := adm.CreateTopic(ctx, 8, 1, nil, topic); err != nil {
		return err
	}
	registry, err := decode.NewRegistry(b.registry, &http.Client{Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	schema, err := registry.Register(ctx, topic+"-value", schemas.PolicyEvent)
	if err != nil {
		return err
	}
	encoder, err := decode.NewEncoder("confluent", schema)
	if err != nil {
		return err
	}
	var failed atomic.Pointer[error]
	for n := range b.events {
		key := fmt.Sprintf("P-%06d", n%(b.events/10))
		value, err := encoder.Encode(fmt.Appendf(nil, `{"eventId":"%d","type":"policyUpdated","version":%d,"occurredAt":%d,"target":null,
			"payload":{"policyId":"%s","agencyId":"DOI","name":"Weekend Inspections","status":"active","effectiveFrom":null,"effectiveTo":null,
			"rules":[{"ruleId":"R1","no":1,"text":"%s","recurrence":null}]}}`, n, 1+n/(b.events/10), time.Now().UnixMilli(), key,
			strings.Repeat("report within 24 hours; ", 19)))
		if err != nil {
			return err
		}
		client.Produce(ctx, &kgo.Record{Key: []byte(key), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	if e := failed.Load(); e != nil {
		return *e
	}
	return nil
}

// measure resets the sink, lets f bring it the events, and returns how many came
// per second between the first and the last.
func (b *bench) measure(ctx context.Context, latency time.Duration, events int, f func() error) (float64, error) {
	if _, err := b.ask(ctx, fmt.Sprintf("/reset?latency=%s&want=%d", latency, events)); err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	text, err := b.ask(ctx, "/stats")
	if err != nil {
		return 0, err
	}
	var s stats
	if err := json.Unmarshal(text, &s); err != nil {
		return 0, err
	}
	return float64(s.Count) / s.Took.Seconds(), nil
}

func (b *bench) ask(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.sink+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Timeout: 10 * time.Minute}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// postBare posts the bodies with nothing around the client.
func (b *bench) postBare(ctx context.Context, events int) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: b.concurrency, MaxConnsPerHost: b.concurrency}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range b.concurrency {
		wg.Go(func() {
			for failed.Load() == nil {
				n := int(next.Add(1))
				if n > events {
					return
				}
				if err := post(ctx, client, b.sink+"/v1/rules", body(n)); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if e := failed.Load(); e != nil {
		return *e
	}
	return nil
}

func post(ctx context.Context, client *http.Client, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

const config = `
kafka: {brokers: ["@kafka"], group: "@group", topics: ["@topic"]}
schemas: {registry: {url: "@registry"}}
dead_letters: {topic: "@topic-letters"}
health: {listen: "127.0.0.1:0"}
@receipts
targets:
  sink:
    connector: scheduling
    url: "@sink/v1/rules"
    concurrency: @concurrency
`

// drain runs policysync until the sink has everything.
func (b *bench) drain(ctx context.Context, topic string, latency time.Duration, receipts string) error {
	file := filepath.Join(b.dir, "policysync.yaml")
	text := strings.NewReplacer("@kafka", b.kafka, "@group", fmt.Sprintf("%s-%s-%d", topic, latency, len(receipts)), "@receipts", receipts, "@topic", topic, "@registry", b.registry,
		"@sink", b.sink, "@concurrency", fmt.Sprint(b.concurrency)).Replace(config)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	//nolint:gosec // the binary to measure
	if out, err := exec.CommandContext(ctx, b.binary, "topics", "create", "-c", file).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	run := exec.CommandContext(ctx, b.binary, "run", "-c", file, "--log-level", "error") //nolint:gosec // the binary to measure
	run.Stderr = os.Stderr
	if err := run.Start(); err != nil {
		return err
	}
	_, err := b.ask(ctx, "/wait")
	return errors.Join(err, run.Process.Signal(os.Interrupt), run.Wait())
}
