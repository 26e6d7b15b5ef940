package event_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/event"
)

// A copy keeps nothing of what it was fetched with, and null stays null.
func TestRecordClone(t *testing.T) {
	t.Parallel()
	fetched := []byte("keyvaluehead")
	for name, r := range map[string]*event.Record{
		"full":      {Key: fetched[:3], Value: fetched[3:8], Headers: []event.Header{{Key: "h", Value: fetched[8:]}}},
		"no key":    {Value: fetched[3:8]},
		"tombstone": {Key: fetched[:3]},
		"empty":     {Key: []byte{}, Value: []byte{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, r, r.Clone())
		})
	}
	r := &event.Record{Key: []byte("key"), Value: []byte("value"), Headers: []event.Header{{Key: "h", Value: []byte("head")}}}
	c := r.Clone()
	r.Key[0], r.Value[0], r.Headers[0].Value[0] = 'x', 'x', 'x'
	require.Equal(t, "key value head", string(c.Key)+" "+string(c.Value)+" "+string(c.Headers[0].Value))
	require.Equal(t, "keyx", string(append(c.Key, 'x')))
	require.Equal(t, "value", string(c.Value))
}
