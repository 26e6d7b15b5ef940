package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/route"
)

// city is a log and the systems that get it, which outlive each engine that reads it.
type city struct {
	t   *testing.T
	log []*event.Record
	mu  sync.Mutex // guards the slice kept
	// The last checkpoint, and what each target had applied before it: offset to key.
	offset int64
	meta   string
	kept   []map[int64]string
	// has is the newest version of each key that each target has.
	has []map[string]int64
}

// Promises 1, 2 and 4 under random schedules: whatever the targets do, and wherever the
// engine is killed and begun again from its last checkpoint, each key ends with its
// newest version; no push is repeated that had settled before that checkpoint, and
// none comes after a newer one that had.
func TestLatestUnderRandomSchedules(t *testing.T) {
	t.Parallel()
	for range 12 {
		synctest.Test(t, func(t *testing.T) {
			c := &city{t: t}
			settings := []rigOption{
				withTarget(nil),
				withTarget(func(s *Settings) { latest(s); s.Concurrency = 1 + rand.N(8) }),
				withTarget(func(s *Settings) { latest(s); s.Batch = Batch{Size: 1 + rand.N(6), Linger: time.Second} }),
			}
			for range settings {
				c.kept = append(c.kept, map[int64]string{})
				c.has = append(c.has, map[string]int64{})
			}
			window, initial := 1+rand.N(38), time.Duration(1+rand.N(60))*time.Second
			settings = append(settings, routedBy(unlike{}), func(rc *rigConfig) {
				for i := range rc.settings {
					rc.settings[i].Window.Deliveries = window
					rc.settings[i].Retry = Retry{Initial: initial, Max: 2 * time.Minute, MaxAttempts: 1000}
					rc.settings[i].Breaker.OpenMax = 5 * time.Second
				}
			})
			for range 6 {
				c.live(settings, false)
			}
			c.live(settings, true)
			for i := range c.has {
				newest := map[string]int64{}
				for _, r := range c.log {
					if (unlike{}).wants(i, r.Offset) {
						newest[string(r.Key)] = r.Offset
					}
				}
				require.Equal(t, newest, c.has[i], "target %d", i)
			}
		})
	}
}

// unlike has each target miss other versions of a key.
type unlike struct{}

func (unlike) wants(target int, offset int64) bool { return offset%4 != int64(target) }

func (u unlike) Route(ev *event.Event) (d route.Decision) {
	for i := range 3 {
		d.Targets = append(d.Targets, route.Verdict{Deliver: u.wants(i, ev.Offset)})
	}
	return d
}

// live begins an engine from the last checkpoint, and kills it after a while, or lets
// it come to an end.
func (c *city) live(settings []rigOption, toTheEnd bool) {
	c.t.Helper()
	r := newRig(c.t, append(settings, resumeFrom(c.offset, c.meta), history(c.log))...)
	for i, target := range r.targets {
		target.set(c.behaviour(i))
	}
	start := r.next
	for _, old := range c.log {
		if old.Offset >= start {
			r.p.Take([]*event.Record{old}, 0, old.Offset+1)
		}
		r.next = old.Offset + 1
	}
	for range 1 + rand.N(25) {
		for range rand.N(40) {
			r.next += int64(rand.N(8) / 7) // gaps
			r.publish(fmt.Sprintf("k%d", rand.N(12)))
		}
		if i := rand.N(2 * len(r.targets)); i < len(r.targets) {
			r.targets[i].set(c.behaviour(i))
		}
		<-time.After(rand.N(20 * time.Second))
		if rand.N(4) == 0 {
			c.commit(r)
		}
	}
	switch {
	case toTheEnd:
		for i, target := range r.targets {
			target.set(c.checked(i, accepted))
		}
		r.settlesAll(time.Hour)
		for i, l := range r.p.lanes {
			require.True(c.t, r.attached(i))
			require.Zero(c.t, l.count+l.admitted+len(l.keys)+len(l.parked))
			require.Zero(c.t, l.bytes)
		}
	case rand.N(2) == 0:
		r.p.Drain(time.Second)
		c.commit(r)
	}
	r.p.Abort()
	synctest.Wait()
	require.Empty(c.t, r.letters.all())
	c.log = r.feeds.log
	for i, target := range r.targets {
		target.inOrder(c.t)
		for _, d := range target.applied {
			c.has[i][d.Key] = d.Event.Offset
		}
	}
}

func (c *city) commit(r *rig) {
	synctest.Wait()
	c.offset, c.meta = r.checkpoint()
	for i, target := range r.targets {
		kept := maps.Clone(c.kept[i]) // attempts read the old one
		target.mu.Lock()
		for _, d := range target.applied {
			kept[d.Event.Offset] = d.Key
		}
		target.mu.Unlock()
		c.mu.Lock()
		c.kept[i] = kept
		c.mu.Unlock()
	}
}

// behaviour is one of the ways that a target may have.
func (c *city) behaviour(i int) func(context.Context, *connector.Delivery) error {
	ways := []func(context.Context, *connector.Delivery) error{
		accepted, refused,
		sometimes(0.5, errServer),
		failing(errServer, "k1", "k2", "k3"),
		failing(connector.AsThrottled(errors.New("unexpected status 429"), 3*time.Second), "k4", "k5"),
		func(ctx context.Context, d *connector.Delivery) error {
			if d.Key < "k3" {
				return pause(ctx, rand.N(30*time.Second))
			}
			return nil
		},
	}
	return c.checked(i, ways[rand.N(len(ways))])
}

// checked holds what a target is asked to do against the promises, and answers.
func (c *city) checked(i int, answer func(context.Context, *connector.Delivery) error) func(context.Context, *connector.Delivery) error {
	return func(ctx context.Context, d *connector.Delivery) error {
		c.mu.Lock()
		kept := c.kept[i]
		c.mu.Unlock()
		for offset, key := range kept {
			if key == d.Key && offset >= d.Event.Offset {
				c.t.Errorf("target %d: %s is pushed at %d, although %d had settled before the checkpoint", i, key, d.Event.Offset, offset)
			}
		}
		return answer(ctx, d)
	}
}
