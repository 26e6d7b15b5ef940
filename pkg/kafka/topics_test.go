package kafka

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestCreateTopics(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, kfake.NumBrokers(3))
	a := c.admin()
	specs := []TopicSpec{
		{Name: letter, Partitions: 9},
		{Name: "kept", Partitions: 2, RetentionMillis: -1, MaxMessageBytes: 1 << 24},
		{Name: "compacted", Partitions: 1, Compacted: true, MaxMessageBytes: 1 << 20},
	}
	created, err := a.CreateTopics(t.Context(), specs)
	require.NoError(t, err)
	require.Equal(t, []string{"kept", "compacted"}, created)
	created, err = a.CreateTopics(t.Context(), specs)
	require.NoError(t, err)
	require.Empty(t, created)

	require.Len(t, c.PartitionInfos(letter), 1, "a topic that exists is left alone")
	require.Len(t, c.PartitionInfos("kept"), 2)
	kept := c.TopicInfo("kept")
	require.Equal(t, 3, kept.NumReplicas)
	for name, want := range map[string]string{
		"min.insync.replicas": "2", "retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": "16777216", "cleanup.policy": "delete",
	} {
		require.Equal(t, want, *kept.Configs[name], name)
	}

	require.Equal(t, "compact", *c.TopicInfo("compacted").Configs["cleanup.policy"])

	missing, err := a.Missing(t.Context(), "kept", "nowhere", topic)
	require.NoError(t, err)
	require.Equal(t, []string{"nowhere"}, missing)
}

// A new topic that a broker does not know yet is asked for again at once, not when the
// client's memory of the first answer is 5 s old.
func TestCreateTopicsAsksAgainSoon(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	unknown := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "new", Err: kerr.UnknownTopicOrPartition})
	began := time.Now()
	created, err := c.admin().CreateTopics(t.Context(), []TopicSpec{{Name: "new", Partitions: 1, MaxMessageBytes: 1 << 20}})
	require.NoError(t, err)
	require.Equal(t, []string{"new"}, created)
	require.Equal(t, 1, unknown.Hits())
	require.Less(t, time.Since(began), 4500*time.Millisecond)
}

func TestProgress(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	a := c.admin()
	c.publish(0, numbered(5)...)
	c.publish(1, numbered(4)...)
	m := c.join(map[string]*recorder{"target": newRecorder()})
	c.settled()
	m.Stop(false)
	// What a tool copies to another offset is no checkpoint of it.
	var other kadm.Offsets
	other.Add(kadm.Offset{Topic: topic, Partition: 1, At: 2, LeaderEpoch: -1, Metadata: c.committed(0).Metadata})
	require.NoError(t, a.adm.CommitAllOffsets(t.Context(), group, other))
	require.NoError(t, c.DeleteRecords(topic, 0, 3))

	got, err := a.Progress(t.Context())
	require.NoError(t, err)
	require.Len(t, got, 3)
	require.Len(t, got[0].Lanes, 1)
	require.EqualValues(t, 5, got[0].Lanes[0].Cursor.Next())
	require.ErrorContains(t, got[1].Problem, "committed offset")
	require.Len(t, got[2].Lanes, 1, "the last commit of a member is of all that it had")
	got[0].Lanes, got[1].Problem, got[2].Lanes = nil, nil, nil
	require.Empty(t, cmp.Diff([]PartitionProgress{
		{Topic: topic, Partition: 0, Start: 3, End: 5, Committed: 5},
		{Topic: topic, Partition: 1, Start: 0, End: 4, Committed: 2},
		{Topic: topic, Partition: 2, Start: 0, End: 0, Committed: 0},
	}, got))

	records, err := a.Records(t.Context(), topic)
	require.NoError(t, err)
	require.EqualValues(t, 2+4, records)
}
