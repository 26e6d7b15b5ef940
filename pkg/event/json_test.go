package event_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/event"
)

// Text is escaped as package json does without its escapes for HTML.
func FuzzJSONText(f *testing.F) {
	for _, s := range []string{"", "plain", "\b\t\n\f\r\x00\x1f\x7f\"\\/<&>", "Weekend – Inspections © Ωμέγα 🏛\n\"é\"", "\xffa\xc3", "\u2028 \u2029", "\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		require.NoError(t, e.Encode(s))
		have, err := event.JSONText(s)
		require.NoError(t, err)
		require.Equal(t, strings.TrimSpace(want.String()), have)
	})
}

// What one call returns is not what the next writes into, and has no room to spare.
func TestJSONIsOwn(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 1 << 20} {
		first, err := event.JSON(strings.Repeat("a", size))
		require.NoError(t, err)
		before := string(first)
		_, err = event.JSON(strings.Repeat("b", size))
		require.NoError(t, err)
		require.Equal(t, before, string(first))
		require.Less(t, cap(first)-len(first), 1+len(first)/4) // as the allocator rounds up
	}
}
