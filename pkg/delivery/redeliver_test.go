package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// proofs is a receipts topic in memory.
type proofs struct {
	mu   sync.Mutex
	kept []receipt.Receipt
}

func (p *proofs) Held(_ context.Context, target string, keys []string) (found []receipt.Receipt, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.kept {
		if r.Target == target && slices.Contains(keys, r.Key) {
			found = append(found, r)
		}
	}
	return found, nil
}

func (p *proofs) keep(rs []receipt.Receipt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = append(p.kept, rs...)
}

func (p *proofs) last() receipt.Receipt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kept[len(p.kept)-1]
}

// proving writes receipts and commits, as often as a member does, until the test ends.
func (r *rig) proving() *proofs {
	p := &proofs{}
	r.Proofs, r.proofs = p, p
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
			}
			if r.p.Dirty() {
				r.checkpoint()
			}
		}
	})
	r.t.Cleanup(func() { close(stop); done.Wait() })
	return p
}

// drained waits until nothing waits for an attempt any more.
func (r *rig) drained() {
	r.t.Helper()
	for range 10_000 {
		synctest.Wait()
		n := 0
		for _, t := range r.Snapshot().Targets {
			for _, l := range t.Lanes {
				n += l.Deliveries + int(l.Lag)
			}
		}
		if n == 0 {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	require.Fail(r.t, "deliveries still wait")
}

func again(offset int64, key string) Again {
	return Again{Record: record(offset, key), Target: "target0", Command: "c1"}
}

func (r *rig) redeliver(all ...Again) []string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Hour)
	defer cancel()
	outcomes, err := r.Redeliver(ctx, all)
	require.NoError(r.t, err)
	return outcomes
}

var errRefused = connector.AsPermanent(errors.New("status 422"))

// refusing has the target refuse the events at the offsets, once each.
func (c *recordingConnector) refusing(offsets ...int64) {
	var mu sync.Mutex
	c.set(func(_ context.Context, d *connector.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		if i := slices.Index(offsets, d.Event.Offset); i >= 0 {
			offsets = slices.Delete(offsets, i, i+1)
			return errRefused
		}
		return nil
	})
}

// A dead letter is sent again under an idempotency key of its own, to its target alone,
// and proven before anybody is told; the cursor does not notice.
func TestRedelivery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil))
		kept := r.proving()
		r.targets[0].refusing(1)
		r.publish("a", "b", "c")
		r.drained()
		require.Len(t, r.letters.all(), 1)
		before := r.committable()

		require.Equal(t, []string{receipt.Delivered}, r.redeliver(again(1, "b")))
		require.Equal(t, []int64{1}, r.targets[0].ids("c1"))
		require.Equal(t, r.letters.all()[0].ID+"/c1", r.targets[0].applied[2].ID)
		require.Equal(t, connector.Version{Value: 1, Known: true}, r.targets[0].applied[2].Version)
		require.Len(t, r.targets[1].tried(), 3)
		require.Equal(t, before, r.committable())
		proof := kept.last()
		require.Equal(t, []any{receipt.Delivered, "b", int64(1)}, []any{proof.Outcome, proof.Key, proof.Source.Offset})

		require.Equal(t, []string{receipt.Delivered}, r.redeliver(again(1, "b")), "the target has it")
		require.Len(t, r.targets[0].ids("c1"), 1)
		require.Equal(t, []string{""}, r.redeliver(Again{Record: &event.Record{Position: event.Position{Topic: "processes"}}}), "of another member")
		once := again(1, "b")
		once.Repeat = true
		require.Equal(t, []string{receipt.Delivered}, r.redeliver(once), "asked for")
	})
}

// A redelivery never overwrites a newer version, wherever that is known from.
func TestRedeliveryKeepsTheNewerVersion(t *testing.T) {
	t.Parallel()
	for name, newer := range map[string]func(*rig, *proofs){
		"from the topic of receipts": func(_ *rig, p *proofs) {
			p.kept = []receipt.Receipt{{Target: "target0", Key: "k", Outcome: receipt.Delivered, Source: event.Position{TopicID: topicID, Offset: 7}}}
		},
		"since the target knows a newer one": func(_ *rig, p *proofs) {
			p.kept = []receipt.Receipt{{Target: "target0", Key: "k", Outcome: receipt.Stale, Source: event.Position{TopicID: topicID, Offset: 7}}}
		},
		"of another partition, by its version": func(_ *rig, p *proofs) {
			p.kept = []receipt.Receipt{{
				Target: "target0", Key: "k", Outcome: receipt.Delivered, Source: event.Position{TopicID: topicID, Partition: 1}, Version: 1, HasVersion: true,
			}}
		},
		"of which nobody knows how new it is": func(_ *rig, p *proofs) {
			p.kept = []receipt.Receipt{{Target: "target0", Key: "k", Outcome: receipt.Delivered, Source: event.Position{TopicID: event.TopicID{9}}}}
		},
		"just delivered":  func(r *rig, _ *proofs) { r.publish("k"); synctest.Wait() },
		"on its way":      func(r *rig, _ *proofs) { r.targets[0].set(sometimes(0.5, errServer)); r.publish("k") },
		"waiting in line": func(r *rig, _ *proofs) { r.targets[0].set(sometimes(0.5, errServer)); r.publish("k", "k", "k") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, withTarget(func(s *Settings) { s.Retry.MaxAttempts = 1000 }))
				kept := r.proving()
				r.targets[0].refusing(0)
				r.publish("k")
				r.drained()
				newer(r, kept)
				require.Equal(t, []string{receipt.Stale}, r.redeliver(again(0, "k")))
				require.Empty(t, r.targets[0].ids("c1"))
				r.targets[0].inOrder(t)
			})
		})
	}
	t.Run("but for one that the target never got", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.proving()
			r.targets[0].refusing(0, 1)
			r.publish("k", "k")
			r.drained()
			require.Equal(t, []string{receipt.Delivered}, r.redeliver(again(0, "k")))
		})
	})
}

// Whatever is published, refused and sent again at the same time, no version of a key
// ever replaces a newer one, and each letter ends once.
func TestRedeliveriesKeepTheOrder(t *testing.T) {
	t.Parallel()
	for _, deliver := range []string{"every", "latest"} {
		t.Run(deliver, func(t *testing.T) {
			t.Parallel()
			for range 20 {
				synctest.Test(t, func(t *testing.T) { redeliverAtRandom(t, deliver) })
			}
		})
	}
}

func redeliverAtRandom(t *testing.T, deliver string) {
	t.Helper()
	size := 1 + 9*rand.N(2)
	r := newRig(t, withTarget(func(s *Settings) {
		s.Deliver, s.Window.Deliveries, s.Retry.MaxAttempts, s.Batch.Size = deliver, 20, 1000, size
	}), func(c *rigConfig) { c.ratio = 1 })
	r.proving()
	// A batch that fails is split, and each part takes its time; no order is asked of the
	// connector within one.
	r.targets[0].set(func(ctx context.Context, d *connector.Delivery) error {
		if err := pause(ctx, rand.N(100*time.Millisecond)); err != nil {
			return err
		}
		switch n := rand.N(10); {
		case n < 3:
			return errRefused
		case n < 5:
			return errServer
		}
		return nil
	})
	var live sync.WaitGroup
	live.Go(func() {
		for range 30 {
			for range rand.N(10) {
				r.publish(fmt.Sprint("k", rand.N(6)))
			}
			<-time.After(rand.N(time.Second))
		}
	})
	ended := map[string]bool{}
	for range 30 {
		var some []Again
		letters := r.letters.all()
		for _, l := range letters {
			if !ended[l.ID] && len(some) < 5 {
				key := ""
				for _, a := range r.targets[0].tried() {
					if a.offset == l.Position.Offset {
						key = a.key
					}
				}
				some = append(some, again(l.Position.Offset, key))
				ended[l.ID] = true
			}
		}
		for _, outcome := range r.redeliver(some...) {
			require.Contains(t, []string{receipt.Delivered, receipt.Stale, receipt.DeadLettered}, outcome)
		}
		<-time.After(rand.N(time.Second))
	}
	live.Wait()
	r.targets[0].set(nil)
	r.settlesAll(time.Hour)
	r.targets[0].inOrder(t)
}

// What fails again gets a letter of its own; the operator who asked for it does not
// bring the target into doubt.
func TestRedeliveryThatFailsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		kept := r.proving()
		r.publish("other")
		r.drained()
		r.targets[0].set(func(context.Context, *connector.Delivery) error { return errRefused })
		var all []Again
		for n := range 40 {
			all = append(all, again(int64(n), fmt.Sprint("k", n)))
		}
		for _, outcome := range r.redeliver(all...) {
			require.Equal(t, receipt.DeadLettered, outcome)
		}
		require.Len(t, r.letters.all(), 40)
		for _, l := range r.letters.all() {
			require.True(t, strings.HasSuffix(l.ID, "/target0/c1"), l.ID)
		}
		require.False(t, r.Snapshot().Targets[0].Held)
		require.True(t, strings.HasSuffix(kept.last().Letter, "/target0/c1"))
	})
}

// A record that nobody could read goes to all targets when it can be read, and gets a
// letter when it still can't.
func TestRedeliveryOfARecordAsAWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil))
		r.proving()
		r.publish("a", "garbage")
		r.drained()
		whole := Again{Record: record(1, "garbage"), Command: "c1"}
		require.Equal(t, []string{receipt.DeadLettered}, r.redeliver(whole))
		letter := r.letters.all()[1]
		require.Equal(t, r.letters.all()[0].ID+"/c1", letter.ID)
		require.Empty(t, letter.Target)

		whole = Again{Record: record(1, "mended"), Command: "c2"}
		r.targets[1].refusing(1)
		require.Equal(t, []string{receipt.DeadLettered}, r.redeliver(whole), "one of them refused it")
		require.Equal(t, []int64{1}, r.targets[0].ids("c2"))
		require.True(t, strings.HasSuffix(r.letters.all()[2].ID, "/target1/c2"))
		require.Equal(t, []string{receipt.Delivered}, r.redeliver(whole), "one has it, now the other too")
		require.Equal(t, []int64{1}, r.targets[0].ids("c2"), "and only the other gets it")

		waits := Again{Record: record(2, "registry-down"), Command: "c3"}
		outcomes, err := r.Redeliver(t.Context(), []Again{waits, again(0, "a")})
		require.ErrorContains(t, err, "read record policies/0/2 again: ask schema registry: connection refused")
		require.Equal(t, []string{"", receipt.Delivered}, outcomes, "it is nobody's letter")
		require.Len(t, r.letters.all(), 3)
	})
}

// Of a target that the config lacks nobody here knows what it wants: what is to be sent to it
// again stays unsettled, and what is for others goes on.
func TestRedeliveryToATargetThatTheConfigLacks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.proving()
		added := again(0, "a")
		added.Target = "added"
		outcomes, err := r.Redeliver(t.Context(), []Again{added, again(1, "b")})
		require.EqualError(t, err, "send policies/0/0 again: this member's config lacks target added")
		require.Equal(t, []string{"", receipt.Delivered}, outcomes)
	})
}

// With its assignment, or when a replay takes the lane's place, a redelivery ends
// unsettled: whoever asked finds out and asks again.
func TestRedeliveryEndsWithItsLane(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*rig){
		"released": func(r *rig) { r.p.Abort() },
		"replayed": func(r *rig) { r.Obey(0, replayOf("r1", 0, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.proving()
				r.publish("k")
				r.drained()
				r.pause(0, true)
				outcomes := make(chan []string)
				go func() {
					got, _ := r.Redeliver(context.Background(), []Again{again(5, "k")})
					outcomes <- got
				}()
				<-time.After(time.Second)
				synctest.Wait()
				end(r)
				require.Equal(t, []string{""}, <-outcomes)
				require.Empty(t, r.targets[0].ids("c1"))
			})
		})
	}
}

// Whoever asked may have gone. The lane ends all the same, however often it is told to.
func TestLaneEndsTwiceWithARedelivery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.Proofs = &proofs{}
		r.pause(0, true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.Redeliver(ctx, []Again{again(5, "k")})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		r.p.Abort()
		r.p.Abort()
	})
}
