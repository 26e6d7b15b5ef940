package delivery

import (
	"math"
	"sync/atomic"
)

// budget bounds what all lanes of a process hold together, or all inboxes. Half of it
// is for who comes first; the other half is shared out evenly, and nobody who takes
// more than a share can touch that of another. So a target that is slow takes nothing
// from the others, and a single busy partition need not stay within its share.
type budget struct {
	limit        int64 // 0: no bound
	held, shares atomic.Int64
}

// most is how much one may hold that has own bytes now. It never has to give any back.
func (b *budget) most(own int64) int64 {
	if b.limit == 0 {
		return math.MaxInt64
	}
	half := b.limit / 2
	return max(own, half-(b.held.Load()-own), half/max(1, b.shares.Load()))
}
