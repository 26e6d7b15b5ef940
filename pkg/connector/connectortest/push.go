package connectortest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// prompt bounds what the contract calls promptly, with room for a busy machine.
const prompt = 10 * time.Second

func (s *trial) holds(want map[string]Record) {
	s.Helper()
	require.Empty(s, cmp.Diff(want, s.Applied(s.T), cmpopts.EquateEmpty()),
		"what the external system holds (-want +got)")
}

// "It returns a nil error only once the external system holds the change".
func appliesUpserts(s *trial) {
	first, second := upsert("a", 1), upsert("a", 2)
	s.mustPush(first)
	s.holds(map[string]Record{"a": first.record()})
	s.mustPush(second)
	s.holds(map[string]Record{"a": second.record()})
}

// "The same delivery can come back, … so the effect must be idempotent on that
// id"; a change that is already held is a success.
func repeats(s *trial) {
	c := upsert("a", 1)
	for range 3 {
		s.mustPush(c)
	}
	s.holds(map[string]Record{"a": c.record()})
}

// "A delete of what is already gone is a success".
func deletes(s *trial) {
	kept := upsert("kept", 1)
	s.mustPush(kept)
	s.mustPush(upsert("a", 2))
	s.mustPush(tombstone("a", 3))
	s.holds(map[string]Record{"kept": kept.record()})
	s.mustPush(tombstone("a", 3))
	s.mustPush(tombstone("never seen", 4))
	s.holds(map[string]Record{"kept": kept.record()})
	again := upsert("a", 5)
	s.mustPush(again)
	s.holds(map[string]Record{"kept": kept.record(), "a": again.record()})
}

// "Push may be called from many goroutines at a time".
func pushesInParallel(s *trial) {
	want := map[string]Record{}
	var pushes sync.WaitGroup
	for i := range 16 {
		c := upsert(fmt.Sprintf("key %d/%d", i, i), int64(i+1))
		want[c.key] = c.record()
		pushes.Go(func() {
			if _, err := s.push(s.Context(), c); err != nil {
				s.Errorf("push %q: %v", c.key, err)
			}
		})
	}
	pushes.Wait()
	s.holds(want)
}

// "A change that the external system refused because it holds a newer version is
// a success with Receipt.Stale set".
func guards(s *trial) {
	if !s.harness.Guarded {
		s.Skip("the target checks no versions")
	}
	stale := func(c change) {
		s.Helper()
		receipt, err := s.push(s.Context(), c)
		require.NoError(s, err)
		require.True(s, receipt.Stale)
	}
	newest := upsert("a", 3)
	s.mustPush(newest)
	stale(upsert("a", 2))
	s.holds(map[string]Record{"a": newest.record()})

	mended := change{key: "a", version: 3, title: "mended", replay: "-replay"}
	s.mustPush(mended) // the same version again, by a mapping that was put right
	s.holds(map[string]Record{"a": mended.record()})

	s.mustPush(tombstone("a", 5))
	stale(upsert("a", 4)) // what was deleted does not come back
	s.holds(map[string]Record{})
}

// "Push says by the class of its error what the lane must do", and a failed
// attempt stands in no later one's way.
func classifies(s *trial) {
	if len(s.Fail) == 0 && !s.harness.RefusesBadTitle {
		s.Skip("the target cannot be made to fail")
	}
	c := upsert("a", 1)
	for class, fail := range s.Fail {
		heal := fail(s.T)
		_, err := s.push(s.Context(), c)
		require.Error(s, err)
		require.Equal(s, class, connector.Classify(err), "class of: %v", err)
		heal()
		s.mustPush(c)
		s.holds(map[string]Record{"a": c.record()})
	}
	if s.harness.RefusesBadTitle {
		_, err := s.push(s.Context(), change{key: "bad", version: 2, title: BadTitle})
		require.Equal(s, connector.Permanent, connector.Classify(err), "class of: %v", err)
	}
}

// "When ctx ends it returns promptly, with an error that wraps the context's".
func stopsWithContext(s *trial) {
	ctx, cancel := context.WithCancelCause(s.Context())
	err := s.stopped(ctx, func() { cancel(errors.New("the partition was revoked")) })
	require.ErrorIs(s, err, context.Canceled)
}

// "A Push that still runs [at Close] fails promptly".
func stopsWithClose(s *trial) {
	require.Error(s, s.stopped(s.Context(), s.close))
}

// stopped pushes to a stalled target, calls stop and returns the push's error.
func (s *trial) stopped(ctx context.Context, stop func()) error {
	s.Helper()
	if s.Stall == nil {
		s.Skip("the target cannot be slow")
	}
	arrived := s.Stall(s.T)
	done := make(chan error, 1)
	go func() {
		_, err := s.push(ctx, upsert("a", 1))
		done <- err
	}()
	select {
	case <-arrived:
	case err := <-done:
		s.Fatalf("the push did not wait for the stalled target: %v", err)
	}
	stop()
	select {
	case err := <-done:
		return err
	case <-time.After(prompt):
		s.Fatalf("the push still runs %v later", prompt)
		return nil
	}
}

// Prepare "sets d.Document", which is JSON or a value that package event prints.
func preparesDocument(s *trial) {
	if _, ok := s.Connector.(connector.Preparer); !ok {
		s.Skip("the connector prepares nothing")
	}
	for _, c := range []change{upsert("a", 1), tombstone("a", 2)} {
		d, err := s.delivery(c)
		require.NoError(s, err)
		if m, ok := d.Document.(json.Marshaler); ok {
			_, err = m.MarshalJSON()
		} else {
			_, err = event.AppendJSON(nil, d.Document)
		}
		require.NoError(s, err)
	}
	s.holds(map[string]Record{}) // "and does nothing else: no I/O"
}

// Check tells "whether the external system is reachable"; "it changes nothing".
func checks(s *trial) {
	c, ok := s.Connector.(connector.Checker)
	if !ok {
		s.Skip("the connector checks nothing")
	}
	require.NoError(s, c.Check(s.Context()))
	s.holds(map[string]Record{})
	if fail := s.Fail[connector.Unavailable]; fail != nil {
		heal := fail(s.T)
		err := c.Check(s.Context())
		require.Error(s, err)
		s.redacted(err)
		heal()
	}
}

// Inspect reads back "what the external system holds for the given keys; a key
// that it does not hold is left out".
func inspects(s *trial) {
	i, ok := s.Connector.(connector.Inspector)
	if !ok {
		s.Skip("the connector reads nothing back")
	}
	s.mustPush(upsert("a", 1))
	s.mustPush(upsert("a", 2))
	s.mustPush(upsert("b", 3))
	s.mustPush(tombstone("b", 4))
	s.mustPush(upsert("not asked for", 5))
	held, err := i.Inspect(s.Context(), []string{"a", "b", "c"})
	require.NoError(s, err)
	require.Len(s, held, 1)
	require.Equal(s, "a", held[0].Key)
	require.EqualValues(s, 2, held[0].Version)
}
