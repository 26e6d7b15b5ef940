package kafka

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadRecord(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	c.publish(1, numbered(5)...)
	require.NoError(t, c.DeleteRecords(topic, 1, 2))
	r, err := ReadRecord(t.Context(), c.config(), topic, 1, 3, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Equal(t, int64(3), r.Offset)
	require.Equal(t, numbered(5)[3], string(r.Value))
	for at, want := range map[[2]int]string{
		{1, 1}: "the log holds offsets from 2 to 4",
		{1, 5}: "the log holds offsets from 2 to 4",
		{0, 0}: "the log holds no record",
		{2, 0}: "there is no such partition",
	} {
		_, err := ReadRecord(t.Context(), c.config(), topic, int32(at[0]), int64(at[1]), slog.New(slog.DiscardHandler))
		require.EqualError(t, err, fmt.Sprintf("read record %s/%d/%d: %s", topic, at[0], at[1], want))
	}
}
