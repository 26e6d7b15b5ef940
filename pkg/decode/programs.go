package decode

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/hms-sme/policysync/pkg/event"
)

type programKey struct {
	writer uint64
	reader *event.Schema
}

// programs caches compiled programs. Reading takes no lock, because each record
// does it; the map is replaced as a whole when a new schema comes, which is rare.
// It grows with the schemas that the registry has, not with what records claim.
type programs struct {
	current atomic.Pointer[map[programKey]*program]
	// mu guards the replacement of the map: one of two partitions that meet a new
	// schema at once would else lose the other's program.
	mu sync.Mutex
}

func (c *programs) get(key programKey) *program {
	m := c.current.Load()
	if m == nil {
		return nil
	}
	return (*m)[key]
}

func (c *programs) put(key programKey, p *program) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[programKey]*program{}
	if m := c.current.Load(); m != nil {
		next = maps.Clone(*m)
	}
	next[key] = p
	c.current.Store(&next)
}
