package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// newMemberID is a name that no other member has, nor this one after a restart.
func newMemberID() (id, host string) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%s-%x", host, b), host
}

// tell writes how this member is, each [receipt.Interval] until ctx ends, and then
// takes it away. A failure is logged when it begins: nothing depends on this.
func (a *App) tell(ctx context.Context, w *kafka.Receipts) {
	id, host := newMemberID()
	log := a.o.Logger.With("member", id)
	ticker := time.NewTicker(receipt.Interval)
	defer ticker.Stop()
	failing := false
	for ctx.Err() == nil {
		m := describe(a.engine.Snapshot())
		m.ID, m.Host, m.Version, m.Time = id, host, a.o.Version, time.Now().UTC()
		err := bounded(ctx, func(ctx context.Context) error { return w.WriteMember(ctx, &m) })
		if err != nil && !failing && ctx.Err() == nil {
			log.WarnContext(ctx, "tell how this member is; trying again", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	ctx = context.WithoutCancel(ctx)
	if err := bounded(ctx, func(ctx context.Context) error { return w.ForgetMember(ctx, id) }); err != nil {
		log.WarnContext(ctx, "tell that this member has stopped; it is regarded as gone soon", "err", err)
	}
}

func bounded(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, receipt.Interval)
	defer cancel()
	return f(ctx)
}

// describe says how a member is, of which the snapshot is.
func describe(s telemetry.Snapshot) receipt.Member {
	m := receipt.Member{Partitions: []receipt.Partition{}, Targets: map[string]receipt.State{}}
	for i, t := range s.Targets {
		state := receipt.State{
			Breaker: t.Breaker, Held: t.Held, Failure: receipt.Bounded(t.Failure), Paused: t.Paused, OldestSeconds: t.OldestWaiting.Seconds(), InFlight: t.InFlight,
			Settled: t.Settled, Latency: receipt.Histogram{Bounds: telemetry.LatencyBounds[:], Counts: t.Latency},
		}
		for _, l := range t.Lanes {
			state.Lag += l.Lag
			if i == 0 { // all targets have the same
				m.Partitions = append(m.Partitions, receipt.Partition{Topic: l.Topic, Partition: l.Partition})
			}
		}
		m.Targets[t.Target] = state
	}
	return m
}
