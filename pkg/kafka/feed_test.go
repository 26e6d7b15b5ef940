package kafka

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/event"
)

// With 64 partitions a fetch brought eight times as much of each, all of which was held at once:
// collecting garbage took most of the CPU, and the rate was a quarter.
func TestFetchIsSharedByPartitions(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 64)
	config := c.config()
	f, err := newFeed(&config, slog.New(slog.DiscardHandler), 512<<10)
	require.NoError(t, err)
	defer f.close()
	each := func(partitions int) int32 {
		var all []partition
		for id := range int32(partitions) {
			all = append(all, partition{topic, id})
			f.add(all[id], &reader{take: func([]*event.Record, int64, int64) bool { return false }}, 0, -1)
		}
		bytes := make(chan any, 1)
		f.do(func() { bytes <- f.client.OptValue(kgo.FetchMaxPartitionBytes) })
		f.remove(all)
		size, _ := (<-bytes).(int32)
		return size
	}
	require.EqualValues(t, 16<<10, each(64))
	require.EqualValues(t, 64<<10, each(1), "what others had is there again")
}
