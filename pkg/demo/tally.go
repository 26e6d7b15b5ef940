package demo

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/hms-sme/policysync/pkg/connector"
)

// tallies counts, per target, what its connector confirmed.
type tallies map[string]*tally

// tally is a connector around another: it counts confirmed pushes and, to prove
// that the demo's check works, can swallow one.
type tally struct {
	inner     connector.Connector
	confirmed atomic.Int64
	// skip is how many deliveries are still to be confirmed without being pushed.
	skip atomic.Int64
}

// watch returns the registry with every connector wrapped.
func (ts tallies) watch(registry connector.Registry, skipAt string) connector.Registry {
	watched := connector.Registry{}
	for name, kind := range registry {
		construct := kind.New
		kind.New = func(ctx context.Context, cfg any, env connector.Env) (connector.Connector, error) {
			inner, err := construct(ctx, cfg, env)
			if err != nil {
				return nil, err
			}
			t := &tally{inner: inner}
			if env.Target == skipAt {
				t.skip.Store(1)
			}
			ts[env.Target] = t
			if b, ok := inner.(connector.OrderedBatch); ok {
				return batchTally{t, b}, nil
			}
			return t, nil
		}
		watched[name] = kind
	}
	return watched
}

// Prepare implements [connector.Preparer]. Every connector of the demo maps.
func (t *tally) Prepare(d *connector.Delivery) error {
	p, ok := t.inner.(connector.Preparer)
	if !ok {
		return fmt.Errorf("connector %T does not map", t.inner)
	}
	return p.Prepare(d)
}

// Push implements [connector.Connector].
func (t *tally) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	if t.skip.Add(-1) >= 0 {
		t.confirmed.Add(1)
		return connector.Receipt{}, nil
	}
	receipt, err := t.inner.Push(ctx, d)
	if err == nil {
		t.confirmed.Add(1)
	}
	return receipt, err
}

// Close implements [connector.Connector].
func (t *tally) Close(ctx context.Context) error { return t.inner.Close(ctx) }

// batchTally is a tally of a connector that takes batches.
type batchTally struct {
	*tally
	batch connector.OrderedBatch
}

// AppliesBatchInOrder implements [connector.OrderedBatch].
func (b batchTally) AppliesBatchInOrder() {}

// PushBatch implements [connector.BatchConnector].
func (b batchTally) PushBatch(ctx context.Context, ds []*connector.Delivery) []connector.Result {
	skipped := 0
	if b.skip.Add(-1) >= 0 {
		skipped = 1
	}
	results := make([]connector.Result, skipped, len(ds))
	if rest := ds[skipped:]; len(rest) > 0 {
		results = append(results, b.batch.PushBatch(ctx, rest)...)
	}
	for _, r := range results {
		if r.Err == nil {
			b.confirmed.Add(1)
		}
	}
	return results
}

// ErrSabotage refuses an unknown Options.Sabotage.
var ErrSabotage = errors.New(`sabotage: the only kind is "skip-one"`)
