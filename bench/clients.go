package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/linkedin/goavro/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/schemas"
)

func newHTTP(concurrency int) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: concurrency, MaxIdleConns: 10 * concurrency}}
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
	if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("unexpected status %d", resp.StatusCode)
	}
	return err
}

// runBare is the ceiling: it posts the bodies to each target, with so many requests
// in flight to each and nothing around the client. A worker has its own keys, so that
// it keeps their order.
func runBare(ctx context.Context, w *work) error {
	client := newHTTP(w.Concurrency)
	var wg sync.WaitGroup
	for _, url := range w.URLs {
		for worker := range w.Concurrency {
			wg.Go(func() {
				for version := 1; version <= w.Events/w.Keys; version++ {
					for key := worker; key < w.Keys; key += w.Concurrency {
						id := fmt.Sprintf("%d-%d", time.Now().UnixNano(), key)
						if err := post(ctx, client, url, body(id, keyOf(key), version)); err != nil {
							fmt.Fprintln(os.Stderr, "bare client:", err)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	return nil
}

// runLoop is what one writes first: consume, decode, post to one target after the
// other until it works, commit; a lasting worker per partition.
func runLoop(ctx context.Context, w *work) error {
	codec, err := goavro.NewCodec(schemas.PolicyEvent)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(w.Kafka), kgo.ConsumerGroup(w.Group), kgo.ConsumeTopics(w.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second))
	if err != nil {
		return err
	}
	web := newHTTP(w.Concurrency)
	workers := map[int32]chan []*kgo.Record{}
	for {
		fetches := client.PollRecords(ctx, 10_000)
		if err := fetches.Err0(); err != nil {
			return err
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			q := workers[p.Partition]
			if q == nil {
				q = make(chan []*kgo.Record, 100)
				workers[p.Partition] = q
				go func() {
					for rs := range q {
						for _, r := range rs {
							if err := w.forward(ctx, codec, web, r.Value); err != nil {
								fmt.Fprintln(os.Stderr, "loop:", err)
							}
						}
						client.MarkCommitRecords(rs...)
					}
				}()
			}
			q <- p.Records
		})
	}
}

// forward decodes one record and posts it until each target has it.
func (w *work) forward(ctx context.Context, codec *goavro.Codec, client *http.Client, value []byte) error {
	native, _, err := codec.NativeFromBinary(value[5:])
	if err != nil {
		return err
	}
	ev, _ := native.(map[string]any)
	payload, _ := ev["payload"].(map[string]any)
	rules, _ := payload["rules"].([]any)
	first, _ := rules[0].(map[string]any)
	doc, err := json.Marshal(struct {
		EventID  any `json:"eventId"`
		PolicyID any `json:"policyId"`
		Version  any `json:"version"`
		Title    any `json:"title"`
		Text     any `json:"text"`
	}{ev["eventId"], payload["policyId"], ev["version"], payload["name"], first["text"]})
	if err != nil {
		return err
	}
	for _, url := range w.URLs {
		for post(ctx, client, url, doc) != nil {
			<-time.After(100 * time.Millisecond)
		}
	}
	return nil
}
