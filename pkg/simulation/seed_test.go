package simulation

import "time"

// seed draws everything that happens to the service. A draw depends on what it is
// for and not on how many were drawn before, so goroutines may draw in any order.
type seed uint64

// What a draw is for.
const (
	forPlan = iota
	forContent
	forFilter
	forFate
	forLatency
	forPoison
	forBatch
	forFeed
	forCommit
	forLetter
	forReceipt
	forCompaction
	forOwner
	forRegistry
	forJitter
	forFault
)

// draw is splitmix64 over the parts.
func (s seed) draw(parts ...int) uint64 {
	h := uint64(s)
	for _, p := range parts {
		h += 0x9e3779b97f4a7c15 + uint64(p)
		h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9
		h = (h ^ (h >> 27)) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// below draws from 0 to n (exclusive).
func (s seed) below(n int, parts ...int) int { return int(s.draw(parts...) % uint64(n)) }

// oneIn is true once in n draws.
func (s seed) oneIn(n int, parts ...int) bool { return s.below(n, parts...) == 0 }

// upTo draws a time below d. Times that differ by nanoseconds put what happens into
// one order, whatever the scheduler does.
func (s seed) upTo(d time.Duration, parts ...int) time.Duration {
	return time.Duration(s.draw(parts...) % uint64(d))
}

// source draws one after the other, for what a single goroutine draws.
type source struct {
	seed
	n int
}

func (s *source) next(n int) int {
	s.n++
	return s.below(n, forPlan, s.n)
}

func (s *source) pause(d time.Duration) time.Duration {
	s.n++
	return s.upTo(d, forPlan, s.n)
}

func oneOf[T any](s *source, of ...T) T { return of[s.next(len(of))] }
