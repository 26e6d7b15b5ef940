package delivery

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// recordingConnector remembers the attempts, in the order in which they began,
// and what was applied, in the order in which they ended.
type recordingConnector struct {
	mu       sync.Mutex
	attempts []attempted
	applied  []connector.Delivery
	calls    int
	flying   map[string]int
	overlap  []string
	// answer says what becomes of an attempt; nil applies it at once.
	answer func(ctx context.Context, d *connector.Delivery) error
}

type attempted struct {
	key    string
	offset int64
	n      int
	at     time.Time
}

func (c *recordingConnector) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	c.mu.Lock()
	c.calls++
	if c.flying == nil {
		c.flying = map[string]int{}
	}
	if c.flying[d.Key]++; c.flying[d.Key] > 1 {
		c.overlap = append(c.overlap, d.Key)
	}
	c.attempts = append(c.attempts, attempted{d.Key, d.Event.Offset, d.Attempt, time.Now()})
	answer := c.answer
	c.mu.Unlock()
	var err error
	if answer != nil {
		err = answer(ctx, d)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flying[d.Key]--
	if err == nil {
		c.applied = append(c.applied, *d)
	}
	return connector.Receipt{Reference: fmt.Sprintf("ref-%s-%d", d.Key, d.Event.Offset)}, err
}

func (c *recordingConnector) Close(context.Context) error { return nil }

func (c *recordingConnector) set(answer func(context.Context, *connector.Delivery) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// offsets returns what was applied, of one key or of all ("").
func (c *recordingConnector) offsets(key string) []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var got []int64
	for _, d := range c.applied {
		if key == "" || d.Key == key {
			got = append(got, d.Event.Offset)
		}
	}
	return got
}

func (c *recordingConnector) tried() []attempted {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.attempts)
}

// inOrder fails unless each key's deliveries were applied in order, one at a time.
func (c *recordingConnector) inOrder(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Empty(t, c.overlap, "keys with two attempts at a time")
	last := map[string]int64{}
	for _, d := range c.applied {
		before, seen := last[d.Key]
		require.False(t, seen && before >= d.Event.Offset, "key %s: offset %d after %d", d.Key, d.Event.Offset, before)
		last[d.Key] = d.Event.Offset
	}
}

// batchingConnector applies a batch all or nothing, in order.
type batchingConnector struct{ *recordingConnector }

func (batchingConnector) AppliesBatchInOrder() {}

func (c batchingConnector) PushBatch(ctx context.Context, ds []*connector.Delivery) []connector.Result {
	c.mu.Lock()
	c.calls++
	answer := c.answer
	for _, d := range ds {
		c.attempts = append(c.attempts, attempted{d.Key, d.Event.Offset, d.Attempt, time.Now()})
	}
	c.mu.Unlock()
	for _, d := range ds {
		if answer == nil {
			break
		}
		if err := answer(ctx, d); err != nil {
			return connector.FailAll(len(ds), err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range ds {
		c.applied = append(c.applied, *d)
	}
	return make([]connector.Result, len(ds))
}
