package connectortest

import (
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

func (s *trial) batches() connector.BatchConnector {
	b, ok := s.Connector.(connector.BatchConnector)
	if !ok {
		s.Skip("the connector takes no batches")
	}
	return b
}

func (s *trial) pushBatch(b connector.BatchConnector, changes ...change) []connector.Result {
	s.Helper()
	ds := make([]*connector.Delivery, len(changes))
	for i, c := range changes {
		var err error
		ds[i], err = s.delivery(c)
		require.NoError(s, err)
	}
	results := b.PushBatch(s.Context(), ds)
	require.Len(s, results, len(ds), "one result per delivery")
	for i, r := range results {
		s.redacted(r.Err)
		*ds[i] = connector.Delivery{}
	}
	return results
}

func (s *trial) mustPushBatch(b connector.BatchConnector, changes ...change) {
	s.Helper()
	for i, r := range s.pushBatch(b, changes...) {
		require.NoError(s, r.Err, "delivery %d", i)
		require.False(s, r.Receipt.Stale, "delivery %d", i)
	}
}

// "PushBatch returns one result per delivery, index-aligned", for batches of any
// size and mixture, and for one that comes back whole or in part.
func pushesBatch(s *trial) {
	b := s.batches()
	a1, b2, a4, c5 := upsert("a", 1), upsert("b", 2), upsert("a", 4), upsert("c", 5)
	s.mustPushBatch(b, a1, b2)
	s.holds(map[string]Record{"a": a1.record(), "b": b2.record()})
	mixed := []change{tombstone("b", 3), a4, c5, tombstone("never seen", 6)}
	s.mustPushBatch(b, mixed...)
	s.mustPushBatch(b, mixed...)
	s.mustPushBatch(b, c5)
	s.holds(map[string]Record{"a": a4.record(), "c": c5.record()})

	if fail := s.Fail[connector.Unavailable]; fail != nil {
		heal := fail(s.T)
		for _, r := range s.pushBatch(b, upsert("a", 7), upsert("c", 8)) {
			require.Equal(s, connector.Unavailable, connector.Classify(r.Err), "class of: %v", r.Err)
		}
		heal()
	}
	if !s.harness.Guarded {
		return
	}
	a9, d10 := upsert("a", 9), upsert("d", 10)
	s.mustPushBatch(b, a9)
	results := s.pushBatch(b, upsert("a", 7), d10)
	require.NoError(s, results[0].Err)
	require.NoError(s, results[1].Err)
	require.True(s, results[0].Receipt.Stale)
	require.False(s, results[1].Receipt.Stale)
	s.holds(map[string]Record{"a": a9.record(), "c": c5.record(), "d": d10.record()})
}

// "When nothing of the batch was applied, it returns FailAll, so that a permanent
// failure of the whole can be told from one of each row".
func isolatesBadRow(s *trial) {
	b := s.batches()
	if !s.harness.RefusesBadTitle {
		s.Skip("the target refuses no row")
	}
	changes := []change{upsert("a", 1), {key: "bad", version: 2, title: BadTitle}, upsert("c", 3)}
	results := s.pushBatch(b, changes...)
	whole := func(r connector.Result) bool { return connector.FailedWhole(r.Err) }
	if slices.ContainsFunc(results, whole) {
		for _, r := range results {
			require.True(s, whole(r), "one result is of the whole batch, another is not")
			require.Equal(s, connector.Permanent, connector.Classify(r.Err))
		}
		s.holds(map[string]Record{})
		for i, c := range changes { // as the lane splits it
			results[i] = s.pushBatch(b, c)[0]
		}
	}
	require.NoError(s, results[0].Err)
	require.Equal(s, connector.Permanent, connector.Classify(results[1].Err))
	require.NoError(s, results[2].Err)
	s.holds(map[string]Record{"a": changes[0].record(), "c": changes[2].record()})
}

// An OrderedBatch "applies the deliveries of a batch in their order, or as if".
func ordersBatch(s *trial) {
	b := s.batches()
	if _, ok := b.(connector.OrderedBatch); !ok {
		s.Skip("a batch holds a key once")
	}
	a4, c6 := upsert("a", 4), upsert("c", 6)
	s.mustPushBatch(b, upsert("a", 1), upsert("b", 2), upsert("a", 3), a4, tombstone("b", 5),
		tombstone("c", 5), c6)
	s.holds(map[string]Record{"a": a4.record(), "c": c6.record()})
}
