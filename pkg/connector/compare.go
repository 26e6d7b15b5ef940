package connector

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Comparer is an optional ability: to compare what the external system holds with
// what the newest version of each key would leave there. Only the connector knows
// which two values its system holds as one. It changes nothing.
//
// Compare returns one comparison per delivery, index-aligned. The deliveries are
// prepared, and no two are of one key.
//
// Names calls each for every name that the system holds for this target, in any
// order, some perhaps more than once: those of [Comparison.Names]. One that can't list
// what it holds calls it for none; what is extra is then known of deleted keys alone.
//
// Both fail with [ErrNotComparable] where a config leaves nothing to compare with.
type Comparer interface {
	Compare(ctx context.Context, ds []*Delivery) ([]Comparison, error)
	Names(ctx context.Context, each func(name string) error) error
}

// readsAtATime bounds the calls of one comparison.
const readsAtATime = 8

// CompareEach is a Compare that asks for one delivery at a time, up to eight at once. The
// first error ends it, and names its policy.
func CompareEach(ctx context.Context, ds []*Delivery, compare func(context.Context, *Delivery) (Comparison, error)) ([]Comparison, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	found, turns := make([]Comparison, len(ds)), make(chan struct{}, readsAtATime)
	read := func(i int) (err error) {
		defer Recovered(&err)
		found[i], err = compare(ctx, ds[i])
		return err
	}
	var reads sync.WaitGroup
	for i, d := range ds {
		turns <- struct{}{}
		reads.Go(func() {
			defer func() { <-turns }()
			if err := read(i); err != nil {
				cancel(fmt.Errorf("policy %q: %w", d.Key, err)) // the first is the cause
			}
		})
	}
	reads.Wait()
	return found, context.Cause(ctx)
}

// ErrNotComparable reports that what a target holds can't be read back.
var ErrNotComparable = errors.New("what the target holds can't be read back")

// Comparison is how one key stands at the external system.
type Comparison struct {
	// Difference is empty if the system holds what it should.
	Difference Difference
	// Fields say more of Different.
	Fields []FieldDifference
	// Names are of what the delivery leaves in the system, or takes away, so that what
	// is there under other names is known to be extra.
	Names []string
}

// Difference is a kind of difference.
type Difference string

// The differences. Newer is a version that was not among those compared with.
const (
	Missing   Difference = "missing"
	Stale     Difference = "stale"
	Newer     Difference = "newer"
	Different Difference = "different"
	Extra     Difference = "extra"
)

// FieldDifference is a field with the value that it should have and the one that it
// has, as text.
type FieldDifference struct {
	Field string `json:"field"`
	Want  string `json:"want"`
	Have  string `json:"have"`
}
