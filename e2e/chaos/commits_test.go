//go:build e2e

package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/hms-sme/policysync/pkg/checkpoint"
)

// commit is what the group had committed for a partition, first seen by a request
// that was answered at a time.
type commit struct {
	partition int32
	seen      time.Time
	offset    int64
	lanes     map[string]*checkpoint.Cursor // nil: no cursors
}

// watch reads the commits until ctx ends, each as soon as it is there.
func (w *world) watch(ctx context.Context) ([]commit, error) {
	var commits []commit
	last := map[int32]kadm.Offset{}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return commits, nil
		case <-tick.C:
		}
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		offsets, err := w.adm.FetchOffsets(limited, w.topic)
		cancel()
		if err != nil {
			continue // a coordinator that moves
		}
		seen := time.Now()
		for p, o := range offsets[w.topic] {
			if o.Err != nil || o.At < 0 || last[p].At == o.At && last[p].Metadata == o.Metadata {
				continue
			}
			last[p] = o.Offset
			c := commit{partition: p, seen: seen, offset: o.At}
			cp, err := checkpoint.Decode(o.Metadata, o.At, w.topicID)
			if err != nil && !errors.Is(err, checkpoint.ErrEmpty) {
				return nil, fmt.Errorf("commit %d of partition %d: %w", o.At, p, err)
			}
			if err == nil {
				c.lanes = map[string]*checkpoint.Cursor{}
				for _, l := range cp.Lanes {
					c.lanes[l.Name] = l.Cursor
				}
			}
			commits = append(commits, c)
		}
	}
}

// holds are the offsets that the commit says are settled for a target.
func (c *commit) holds(target string) []checkpoint.Run {
	cursor := c.lanes[target]
	switch {
	case c.lanes == nil:
		return []checkpoint.Run{{From: 0, To: c.offset}}
	case cursor == nil:
		return nil
	}
	return append([]checkpoint.Run{{From: 0, To: cursor.Next()}}, cursor.Runs()...)
}

// next is the target's cursor, -1 if the commit has none.
func (c *commit) next(target string) int64 {
	if cursor := c.lanes[target]; cursor != nil {
		return cursor.Next()
	}
	return -1
}
