package connectortest

import (
	"errors"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Compare returns "one comparison per delivery, index-aligned", and "it changes
// nothing"; Names calls each "for every name that the system holds for this target".
func compares(s *trial) {
	c, ok := s.Connector.(connector.Comparer)
	if !ok {
		s.Skip("the connector compares nothing")
	}
	same, changed, old := upsert("same", 1), upsert("changed", 2), upsert("old", 3)
	newer, kept, gone := upsert("newer", 9), upsert("kept", 4), tombstone("gone", 6)
	for _, push := range []change{same, changed, old, newer, kept, upsert("gone", 5), gone} {
		s.mustPush(push)
	}
	held := map[string]Record{
		"same": same.record(), "changed": changed.record(), "old": old.record(),
		"newer": newer.record(), "kept": kept.record(),
	}
	s.holds(held)
	changed.title = "another title"
	ask := []struct {
		change
		want connector.Difference
	}{
		{same, ""},
		{upsert("missing", 10), connector.Missing},
		{changed, connector.Different},
		{gone, ""},
		{upsert("old", 11), connector.Stale},
		{tombstone("kept", 12), connector.Extra},
		{upsert("newer", 8), connector.Newer},
		{tombstone("never seen", 13), ""},
	}
	ds := make([]*connector.Delivery, len(ask))
	for i, a := range ask {
		var err error
		ds[i], err = s.delivery(a.change)
		require.NoError(s, err)
	}
	found, err := c.Compare(s.Context(), ds)
	if errors.Is(err, connector.ErrNotComparable) {
		s.Skip("the target can't be read back")
	}
	require.NoError(s, err)
	require.Len(s, found, len(ask), "one comparison per delivery")
	names := map[string]string{} // of what is held, by name
	for i, a := range ask {
		got := found[i].Difference
		if a.want == connector.Stale || a.want == connector.Newer {
			// A system that tells no versions has another document.
			if !s.harness.Guarded && got == connector.Different {
				got = a.want
			}
		}
		require.Equal(s, a.want, got, "key %q: %+v", a.key, found[i])
		if _, there := held[a.key]; there {
			require.NotEmpty(s, found[i].Names, "key %q", a.key)
			for _, name := range found[i].Names {
				names[name] = a.key
			}
		}
	}
	require.True(s, slices.ContainsFunc(found[2].Fields, func(f connector.FieldDifference) bool {
		return f.Want != f.Have && f.Want == changed.title
	}), "the field that differs: %+v", found[2].Fields)
	s.holds(held)

	var listed int
	require.NoError(s, c.Names(s.Context(), func(name string) error {
		listed++
		require.Contains(s, names, name, "no delivery accounts for what is held")
		delete(names, name)
		return nil
	}))
	if listed > 0 {
		require.Empty(s, names, "held, but not named")
	}
}
