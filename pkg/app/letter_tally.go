package app

import (
	"context"
	"fmt"
	"time"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// LetterTally counts the unresolved dead letters of each target. It reads each record of
// the topics once, and keeps some 40 bytes for each letter.
type LetterTally struct {
	cfg *config.Config
	adm *kafka.Admin
	// next is how far it has read.
	next map[tallied]int64
	// open are the unresolved letters and their targets; resolved the others.
	open     map[letterKey]string
	resolved map[letterKey]struct{}
	counts   map[string]int
}

// tallied is a partition; a topic that is made anew has others.
type tallied struct {
	topic     event.TopicID
	partition int32
}

// NewLetterTally returns one that has read nothing.
func NewLetterTally(cfg *config.Config, adm *kafka.Admin) *LetterTally {
	return &LetterTally{
		cfg: cfg, adm: adm, next: map[tallied]int64{},
		open: map[letterKey]string{}, resolved: map[letterKey]struct{}{}, counts: map[string]int{},
	}
}

// Update reads what has come since, and returns how many letters of each target nobody
// has resolved; those of no target, because their record can't be read, under "". The
// map is the caller's until the next Update.
func (t *LetterTally) Update(ctx context.Context) (map[string]int, error) {
	letters, err := t.adm.Spans(ctx, time.Time{}, t.cfg.DeadLetters.Topic)
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	resolutions, err := t.adm.ReceiptSpans(ctx, t.cfg.Receipts.Topic, [][]byte{receipt.PartitionKey([]byte(receipt.KindLetter))}, time.Time{})
	if err != nil {
		return nil, fmt.Errorf("read resolutions: %w", err)
	}
	err = t.adm.Scan(ctx, t.fresh(letters), func(r *event.Record) error {
		t.next[tallied{r.TopicID, r.Partition}] = r.Offset + 1
		l, _, err := deadletter.Decode(r)
		if err != nil {
			return nil //nolint:nilerr // no letter
		}
		id := keyOf(l.ID)
		if _, done := t.resolved[id]; done {
			return nil
		}
		if _, known := t.open[id]; !known {
			t.open[id] = l.Target
			t.counts[l.Target]++
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	err = t.adm.Scan(ctx, t.fresh(resolutions), func(r *event.Record) error {
		t.next[tallied{r.TopicID, r.Partition}] = r.Offset + 1
		if kind, _, name, err := receipt.ParseKey(r.Key); err == nil && kind == receipt.KindLetter && r.Value != nil {
			id := keyOf(name)
			if target, open := t.open[id]; open {
				t.counts[target]--
				delete(t.open, id)
			}
			t.resolved[id] = struct{}{}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read resolutions: %w", err)
	}
	return t.counts, nil
}

// fresh are the parts that were not read yet.
func (t *LetterTally) fresh(spans []kafka.Span) (parts []kafka.Span) {
	for _, s := range spans {
		if s.Start = max(s.Start, t.next[tallied{s.TopicID, s.Partition}]); s.Start < s.End {
			parts = append(parts, s)
		}
	}
	return parts
}
