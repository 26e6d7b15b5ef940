package sql

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A column holds as one what its type has no room to tell apart, and nothing else.
func TestSame(t *testing.T) {
	t.Parallel()
	moment := time.Date(2026, 11, 24, 8, 0, 0, 123456000, time.UTC)
	for _, tc := range []struct {
		column         string
		argument, held any
		same           bool
	}{
		{"text", nil, nil, true},
		{"text", nil, "", false},
		{"text", "null", nil, false},
		{"text", "a", []byte("a"), true},
		{"text", "a", "a ", false},
		{"text", "1.0", "1.00", false},
		{"character(3)", "a", "a  ", true},
		{"character varying(3)", "a", "a  ", false},
		{"bigint", int64(7), []byte("7"), true},
		{"bigint", int64(9007199254740993), int64(9007199254740992), false},
		{"numeric(12,2)", "12.5", "12.50", true},
		{"numeric(12,2)", "12.5", "12.51", false},
		{"boolean", true, int64(1), true},
		{"tinyint(1)", true, []byte("0"), false},
		{"real", 0.1, float64(float32(0.1)), true},
		{"double precision", 0.1, float64(float32(0.1)), false},
		{"bytea", []byte{1, 2}, []byte{1, 2}, true},
		{"bytea", []byte{1, 2}, []byte{1, 3}, false},
		{"timestamp with time zone", "2026-11-24T08:00:00.123456Z", moment, true},
		{"timestamp with time zone", "2026-11-24T08:00:00.123457Z", moment, false},
		{"datetime(3)", "2026-11-24 08:00:00.123456", []byte("2026-11-24 08:00:00.123"), true},
		{"datetime(6)", "2026-11-24 08:00:00.123456", []byte("2026-11-24 08:00:00.123000"), false},
		{"datetime", "2026-11-24 08:00:00.123456", []byte("2026-11-24 08:00:00"), true},
		{"date", "2026-11-24", time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), true},
		{"date", "2026-11-24", time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC), false},
		{"jsonb", `{"b":1,"a":[2]}`, []byte(`{"a": [2], "b": 1}`), true},
		{"jsonb", `{"a":9007199254740993}`, `{"a":9007199254740992}`, false},
		{"uuid", "0F8F0000-0000-0000-0000-000000000000", "0f8f0000-0000-0000-0000-000000000000", true},
	} {
		require.Equal(t, tc.same, parseType(tc.column).same(tc.argument, tc.held), "%s: %v and %v", tc.column, tc.argument, tc.held)
	}
}
