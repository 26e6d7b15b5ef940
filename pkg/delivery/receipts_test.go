package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// receipts takes a checkpoint and returns what its receipts say, in order. Unlike
// [rig.checkpoint] it does not save them.
func (r *rig) receipts() []string {
	r.t.Helper()
	c, err := r.p.Checkpoint()
	require.NoError(r.t, err)
	var said []string
	for _, x := range c.Receipts {
		text := fmt.Sprintf("%s/%s/%s: %s %d", x.Kind(), x.Target, x.Key, x.Outcome, x.Source.Offset)
		if x.Superseded > 0 {
			text += fmt.Sprintf(" superseded %d", x.Superseded)
		}
		said = append(said, text)
	}
	slices.Sort(said)
	return said
}

func TestReceiptsSayHowDeliveriesSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTarget(nil), withTarget(nil))
		r.targets[0].set(func(_ context.Context, d *connector.Delivery) error {
			if d.Event.Offset == 1 {
				return connector.AsPermanent(fmt.Errorf("refused: %s", strings.Repeat("x", 9999)))
			}
			if d.Event.Offset == 3 && d.Attempt == 1 {
				return connector.AsTransient(errors.New("deadlock"))
			}
			return nil
		})
		began := time.Now()
		r.publish("a", "b", "a", "c", "", "garbage")
		synctest.Wait()
		<-time.After(time.Second)
		synctest.Wait()
		require.ElementsMatch(t, []string{
			"held/target0/a: delivered 2", "last/target0/b: dead-lettered 1", "held/target0/c: delivered 3", "last/target0/garbage: dead-lettered 5",
			"held/target1/a: delivered 2", "held/target1/b: delivered 1", "held/target1/c: delivered 3", "last/target1/garbage: dead-lettered 5",
		}, r.receipts(), "of each key the newest, and none of a record without one")

		c, err := r.p.Checkpoint()
		require.NoError(t, err)
		byKey := map[string]receipt.Receipt{}
		for _, x := range c.Receipts {
			byKey[x.Target+" "+x.Key] = x
		}
		position := func(offset int64) event.Position {
			return event.Position{Topic: "policies", TopicID: topicID, Offset: offset}
		}
		c3 := byKey["target0 c"]
		require.WithinRange(t, c3.Time, began, began.Add(time.Second))
		c3.Time = time.Time{}
		require.Empty(t, cmp.Diff(receipt.Receipt{
			Target: "target0", Key: "c", Outcome: receipt.Delivered, Attempts: 2, Source: position(3), Version: 3, HasVersion: true, Reference: "ref-c-3",
		}, c3))
		b := byKey["target0 b"]
		require.Len(t, b.Error, receipt.MaxText)
		b.Error, b.Time = b.Error[:7], time.Time{}
		require.Empty(t, cmp.Diff(receipt.Receipt{
			Target: "target0", Key: "b", Outcome: receipt.DeadLettered, Attempts: 1, Source: position(1), Version: 1, HasVersion: true,
			Class: "permanent", Error: "refused", Letter: topicID.String() + "/0/1/target0",
		}, b))
		g := byKey["target1 garbage"]
		g.Time = time.Time{}
		require.Empty(t, cmp.Diff(receipt.Receipt{
			Target: "target1", Key: "garbage", Outcome: receipt.DeadLettered, Source: position(5),
			Class: "permanent", Error: "decode: not Avro", Letter: topicID.String() + "/0/5",
		}, g))
	})
}

// Until they are saved, receipts are handed out again, the newest of each record.
func TestReceiptsAreKeptUntilSaved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.publish("a", "b")
		synctest.Wait()
		require.Equal(t, []string{"held/target0/a: delivered 0", "held/target0/b: delivered 1"}, r.receipts())
		r.publish("a")
		synctest.Wait()
		require.Equal(t, []string{"held/target0/a: delivered 2", "held/target0/b: delivered 1"}, r.receipts())
		r.p.Saved()
		r.publish("b") // settles after the checkpoint: not saved with it
		synctest.Wait()
		require.Equal(t, []string{"held/target0/b: delivered 3"}, r.receipts())
		r.p.Saved()
		require.Empty(t, r.receipts())
		require.Zero(t, r.p.unsaved.count.Load())
	})
}

// What a write leaves is handed out again, and what it does not leave is not.
func TestReceiptsThatAreLeftAreKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.publish("a", "b", "c")
		synctest.Wait()
		c, err := r.p.Checkpoint()
		require.NoError(t, err)
		r.p.Saved(slices.DeleteFunc(slices.Clone(c.Receipts), func(x receipt.Receipt) bool { return x.Key == "a" })...)
		require.Equal(t, []string{"held/target0/b: delivered 1", "held/target0/c: delivered 2"}, r.receipts())
		r.publish("a", "c")
		synctest.Wait()
		require.Equal(t, []string{"held/target0/a: delivered 3", "held/target0/b: delivered 1", "held/target0/c: delivered 4"}, r.receipts())
		r.p.Saved()
		require.Empty(t, r.receipts())
		require.Zero(t, r.p.unsaved.count.Load())
	})
}

// A letter that the checkpoint had no room to record is written again by a restart. Its
// receipt must not replace that of a later version, which so is pushed only once both
// can be recorded.
func TestRepeatedLetterReplacesNoLaterReceipt(t *testing.T) {
	t.Parallel()
	keys := []string{"a", "b", "stuck", "stuck", "k", "stuck", "k"}
	const buried, later = 4, 6
	for settled, refused := range []int{0, 0, 1} { // of the later version
		t.Run(fmt.Sprint(settled, " settled before"), func(t *testing.T) {
			t.Parallel()
			var offset int64
			var meta string
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.Reader = unreadableAt(buried)
				r.p.share.Store(3 * 2) // for two attempts and one more, or a letter
				gates := [later]chan struct{}{make(chan struct{}), make(chan struct{})}
				r.targets[0].set(func(ctx context.Context, d *connector.Delivery) error {
					if d.Event.Offset == later {
						return connector.AsPermanent(errors.New("refused"))
					}
					select {
					case <-gates[d.Event.Offset]:
					case <-ctx.Done():
					}
					return ctx.Err()
				})
				r.publish(keys...)
				synctest.Wait()
				for _, gate := range gates[:settled] {
					close(gate)
				}
				synctest.Wait()
				require.Len(t, r.letters.all(), 1+refused)
				offset, meta = r.checkpoint()
			})
			synctest.Test(t, func(t *testing.T) {
				var log []*event.Record
				for at, key := range keys {
					log = append(log, record(int64(at), key))
				}
				r := newRig(t, resumeFrom(offset, meta), history(log))
				r.Reader = unreadableAt(buried)
				r.targets[0].set(invalid)
				r.p.Take(log, 0, int64(len(log)))
				<-time.After(time.Second)
				synctest.Wait()
				said := r.receipts()
				require.NotContains(t, said, "last/target0/k: dead-lettered 4")
				require.Contains(t, said, "last/target0/stuck: dead-lettered 5")
			})
		})
	}
}

// unreadableAt can't read the event at one offset.
type unreadableAt int64

func (at unreadableAt) Read(r *event.Record, value *event.Object, schema *event.Schema) (*event.Event, error) {
	if r.Offset == int64(at) {
		return nil, errors.New("no such field")
	}
	return fakeReader{}.Read(r, value, schema)
}

func TestReceiptsAreCoalesced(t *testing.T) {
	t.Parallel()
	of := func(outcome string, offset int64, superseded int) receipt.Receipt {
		return receipt.Receipt{Target: "t", Key: "k", Outcome: outcome, Source: event.Position{Offset: offset}, Superseded: superseded}
	}
	other := receipt.Receipt{Target: "t", Key: "other", Outcome: receipt.Delivered}
	for name, tc := range map[string]struct{ in, want []receipt.Receipt }{
		"a delivery says nothing of the failure before it": {
			[]receipt.Receipt{of(receipt.DeadLettered, 1, 0), other, of(receipt.Delivered, 2, 0)},
			[]receipt.Receipt{of(receipt.DeadLettered, 1, 0), other, of(receipt.Delivered, 2, 0)},
		},
		"a delivery counts those that gave way to it": {
			[]receipt.Receipt{of(receipt.Superseded, 1, 1), of(receipt.Superseded, 2, 1), other, of(receipt.Delivered, 3, 2)},
			[]receipt.Receipt{other, of(receipt.Delivered, 3, 2)},
		},
		"a dead letter outlives one that gave way": {
			[]receipt.Receipt{of(receipt.DeadLettered, 1, 0), of(receipt.Superseded, 2, 1), other, of(receipt.Superseded, 3, 1), of(receipt.Delivered, 4, 2)},
			[]receipt.Receipt{of(receipt.DeadLettered, 1, 0), other, of(receipt.Delivered, 4, 2)},
		},
		"one that gave way later stands": {
			[]receipt.Receipt{of(receipt.Delivered, 1, 0), of(receipt.Superseded, 2, 1), of(receipt.Superseded, 3, 1)},
			[]receipt.Receipt{of(receipt.Delivered, 1, 0), of(receipt.Superseded, 3, 2)},
		},
		"counts add up": {
			[]receipt.Receipt{of(receipt.Delivered, 1, 2), of(receipt.Delivered, 4, 3)},
			[]receipt.Receipt{of(receipt.Delivered, 4, 5)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUnsaved()
			u.add(tc.in[:1])
			u.add(tc.in[1:])
			require.ElementsMatch(t, tc.want, u.list)
			require.Len(t, u.index, len(tc.want))
			for k, i := range u.index {
				require.Equal(t, k, keyOf(&u.list[i]))
			}
		})
	}
}

// What is acknowledged is behind a new one of its record as it lies in the topic: nothing of
// it counts once more, and no dead letter comes back over it.
func TestReceiptsAfterAcknowledgedOnes(t *testing.T) {
	t.Parallel()
	of := func(outcome string, offset int64, superseded int) receipt.Receipt {
		return receipt.Receipt{Target: "t", Key: "k", Outcome: outcome, Source: event.Position{Offset: offset}, Superseded: superseded}
	}
	other := receipt.Receipt{Target: "t", Key: "other", Outcome: receipt.Delivered}
	u := newUnsaved()
	u.add([]receipt.Receipt{of(receipt.DeadLettered, 1, 0), of(receipt.Superseded, 2, 1), other})
	u.keep([]receipt.Receipt{other})
	u.add([]receipt.Receipt{of(receipt.Superseded, 3, 1)})
	require.Equal(t, []receipt.Receipt{other, of(receipt.Superseded, 3, 1)}, u.list)
	u.add([]receipt.Receipt{of(receipt.Delivered, 4, 2)})
	require.Equal(t, []receipt.Receipt{other, of(receipt.Delivered, 4, 2)}, u.list)
	require.Len(t, u.index, 2)
	for k, i := range u.index {
		require.Equal(t, k, keyOf(&u.list[i]))
	}
}

// If the feeds went on with each acknowledgement, there would be as much to write as
// before, and no commit with all of its receipts.
func TestFeedsWaitUntilNoReceiptIsLeft(t *testing.T) {
	t.Parallel()
	u := newUnsaved()
	for i := range maxUnsaved {
		u.add([]receipt.Receipt{{Outcome: receipt.Delivered, Key: strconv.Itoa(i)}})
		u.count.Add(1)
	}
	room := u.fewer(maxUnsaved)
	require.NotNil(t, room)
	u.keep(slices.Clone(u.list[maxUnsaved-1:]))
	require.Len(t, u.list, 1)
	require.Equal(t, room, u.fewer(maxUnsaved))
	u.keep(nil)
	<-room
	require.Nil(t, u.fewer(maxUnsaved))
}

// While the receipts topic is away nothing piles up for ever: the feeds wait, live
// and catch-up, and go on once it is back.
func TestFeedsWaitForReceipts(t *testing.T) {
	t.Parallel()
	const events = 2 * maxUnsaved
	for name, catchingUp := range map[string]bool{"live feed": false, "catch-up feed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := make([]*event.Record, events)
				keys := make([]string, events)
				for i := range log {
					keys[i] = fmt.Sprint(i)
					log[i] = record(int64(i), keys[i])
				}
				options := []rigOption{withTarget(nil), withTarget(nil)}
				windows := 2 * defaults().Window.Deliveries
				if catchingUp { // the first target, after a restart; the other has it all
					meta, _, err := checkpoint.Encode(&checkpoint.Checkpoint{TopicID: topicID, Lanes: []checkpoint.Lane{
						{Name: "target0", Cursor: checkpoint.New(0)}, {Name: "target1", Cursor: checkpoint.New(events)},
					}}, checkpoint.DefaultLimit)
					require.NoError(t, err)
					options = append(options, resumeFrom(0, meta), history(log))
					windows /= 2
				}
				r := newRig(t, options...)
				if !catchingUp {
					r.publish(keys...)
				}
				<-time.After(time.Hour)
				synctest.Wait()
				kept := len(r.receipts())
				t.Logf("%d receipts kept", kept)
				require.GreaterOrEqual(t, kept, maxUnsaved)
				require.LessOrEqual(t, kept, maxUnsaved+windows)
				r.settlesAll(time.Hour)
			})
		})
	}
}

// What one long commit has settle meanwhile is no memory that is held from then on.
func TestMemoryOfReceiptsIsGivenBack(t *testing.T) {
	t.Parallel()
	u := newUnsaved()
	commit := func(n int) {
		receipts := slices.Grow(u.spare, n)[:n]
		for i := range receipts {
			receipts[i] = receipt.Receipt{Outcome: receipt.Delivered, Key: strconv.Itoa(i)}
		}
		u.add(receipts)
		require.Len(t, u.list, n)
		u.clear()
	}
	commit(5000)
	commit(100)
	commit(100)
	require.Less(t, cap(u.list), 500)
	require.Less(t, cap(u.spare), 500)
	room := &u.list[:1][0]
	commit(90)
	require.Same(t, room, &u.list[:1][0], "what is needed again is kept")
}

func TestReceiptsOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.Receipts = false
		r.publish("a", "garbage")
		r.settlesAll(time.Second)
		require.Empty(t, r.receipts())
		require.Zero(t, r.p.unsaved.count.Load())
	})
}
