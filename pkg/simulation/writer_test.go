//go:build synctests

package simulation

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// write writes what is to be written to the topic, one after the other.
func (w *service) write() {
	defer close(w.wrote)
	for do := range w.writes {
		do()
	}
}

// publish adds n records to a partition.
func (w *service) publish(partition, n int) {
	c := w.client()
	defer c.Close()
	for _, r := range w.records(partition, n) {
		want := r.Offset
		if got := must(c.ProduceSync(context.Background(), r).First()).Offset; got != want {
			panic(fmt.Sprintf("record %d/%d is at %d", partition, want, got))
		}
	}
}

// records adds n records to what is known of a log, and returns them.
func (w *service) records(partition, n int) []*kgo.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.logs[partition]
	from := l.end()
	l.append(n)
	var rs []*kgo.Record
	for _, r := range l.entries[from:] {
		rs = append(rs, &kgo.Record{
			Topic: topic, Partition: int32(partition), Offset: r.Offset, Key: r.Key, Value: r.Value[:min(len(r.Value), 8<<10)],
		})
	}
	return rs
}

// abort takes n offsets, and one for the marker, that no consumer ever sees.
func (w *service) abort(partition, n int) {
	c := w.client(kgo.TransactionalID("writer"))
	defer c.Close()
	w.mu.Lock()
	if n > 0 {
		for range n + 1 {
			w.logs[partition].gap()
		}
	}
	w.mu.Unlock()
	err := c.BeginTransaction()
	for range n {
		r := &kgo.Record{Topic: topic, Partition: int32(partition), Value: []byte("aborted")}
		must(c.ProduceSync(context.Background(), r).First())
	}
	if err == nil {
		err = c.EndTransaction(context.Background(), kgo.TryAbort)
	}
	if err != nil {
		panic(err)
	}
}
