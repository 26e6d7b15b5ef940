package admin

import (
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

// maxClients bounds the memory of limits. Beyond it all begin anew.
const maxClients = 10_000

// limits is a rate for each client.
type limits struct {
	each  rate.Limit
	burst int
	mu    sync.Mutex
	by    map[netip.Prefix]*rate.Limiter
}

func newLimits(perSecond rate.Limit, burst int) *limits {
	return &limits{each: perSecond, burst: burst, by: map[netip.Prefix]*rate.Limiter{}}
}

func (l *limits) of(client netip.Prefix) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter := l.by[client]
	if limiter == nil {
		if len(l.by) >= maxClients {
			clear(l.by)
		}
		limiter = rate.NewLimiter(l.each, l.burst)
		l.by[client] = limiter
	}
	return limiter
}

// allow takes one of what the client has left, if there is any.
func (l *limits) allow(client netip.Prefix) bool { return l.of(client).Allow() }

// left reports whether the client has any.
func (l *limits) left(client netip.Prefix) bool { return l.of(client).Tokens() >= 1 }
