package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/event"
)

// Admin looks at the cluster and creates topics.
type Admin struct {
	config Config
	client *kgo.Client
	adm    *kadm.Client
	log    *slog.Logger
}

// NewAdmin returns an Admin. The cluster is first reached by its first call.
func NewAdmin(c Config, log *slog.Logger) (*Admin, error) {
	client, err := c.dial(log, kgo.MetadataMinAge(awaitEvery))
	if err != nil {
		return nil, err
	}
	return &Admin{config: c, client: client, adm: kadm.NewClient(client), log: log}, nil
}

// Close closes the connections.
func (a *Admin) Close() { a.client.Close() }

// TopicSpec is a topic that policysync owns.
type TopicSpec struct {
	Name       string
	Partitions int32
	// RetentionMillis is how long records are kept, -1 for ever. It means nothing to a
	// compacted topic, which keeps the last record of each key.
	RetentionMillis int64
	Compacted       bool
	// MaxMessageBytes is the largest batch that the topic takes.
	MaxMessageBytes int
}

// CreateTopics creates the topics that do not exist, with three replicas where
// there are brokers for it, and returns the names of those it created.
func (a *Admin) CreateTopics(ctx context.Context, specs []TopicSpec) (created []string, err error) {
	brokers, err := a.adm.ListBrokers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list brokers: %w", err)
	}
	replicas := int16(min(3, len(brokers)))
	for _, s := range specs {
		configs := map[string]*string{
			"min.insync.replicas": text(max(1, replicas-1)),
			"max.message.bytes":   text(s.MaxMessageBytes),
			"cleanup.policy":      text("delete"),
			"retention.ms":        text(s.RetentionMillis),
			"retention.bytes":     text(-1),
		}
		if s.Compacted {
			configs["cleanup.policy"] = text("compact")
			// As Kafka's own compacted topic has it: only closed segments are compacted.
			configs["segment.bytes"] = text(100 << 20)
		}
		_, err := a.adm.CreateTopic(ctx, s.Partitions, replicas, configs, s.Name)
		switch {
		case errors.Is(err, kerr.TopicAlreadyExists):
		case err != nil:
			return created, fmt.Errorf("create topic %s: %w", s.Name, err)
		default:
			created = append(created, s.Name)
		}
	}
	return created, a.awaitTopics(ctx, created)
}

// awaitEvery is how often brokers are asked for topics that were just created, and
// so for how long the client may keep what they said.
const awaitEvery = 100 * time.Millisecond

// awaitTopics waits until the brokers tell of new topics, so that a member that is
// started next finds them.
func (a *Admin) awaitTopics(ctx context.Context, names []string) error {
	for len(names) > 0 {
		missing, err := a.Missing(ctx, names...)
		if err != nil {
			return err
		}
		if names = missing; len(names) == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for topics %v: %w", names, context.Cause(ctx))
		case <-time.After(awaitEvery):
		}
	}
	return nil
}

func text(v any) *string {
	s := fmt.Sprint(v)
	return &s
}

// Missing returns those of the given topics that do not exist.
func (a *Admin) Missing(ctx context.Context, topics ...string) ([]string, error) {
	found, err := a.adm.ListTopics(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	var missing []string
	for _, name := range topics {
		t, ok := found[name]
		switch {
		case !ok || errors.Is(t.Err, kerr.UnknownTopicOrPartition):
			missing = append(missing, name)
		case t.Err != nil:
			return nil, fmt.Errorf("describe topic %s: %w", name, t.Err)
		}
	}
	return missing, nil
}

// Records is the number of records that a topic holds, aborted ones and markers
// included.
func (a *Admin) Records(ctx context.Context, topic string) (int64, error) {
	spans, err := a.bounds(ctx, time.Time{}, topic)
	var n int64
	for _, s := range spans {
		n += s.End - s.Start
	}
	return n, err
}

// PartitionProgress is how far the group has come on one partition, as its last
// commit tells.
type PartitionProgress struct {
	Topic     string
	Partition int32
	// Start and End bound the log: its first offset and the next to be written.
	Start, End int64
	// Committed is -1 if the group has not committed here.
	Committed int64
	// Lanes hold the targets' cursors. They are empty if the commit carries none
	// that can be used; Problem then says why.
	Lanes   []checkpoint.Lane
	Problem error
}

// Progress reads the group's commits of its topics, ordered by topic and
// partition.
func (a *Admin) Progress(ctx context.Context) ([]PartitionProgress, error) {
	topics, err := a.adm.ListTopics(ctx, a.config.Topics...)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	starts, err := a.adm.ListStartOffsets(ctx, a.config.Topics...)
	if err != nil {
		return nil, fmt.Errorf("list start offsets: %w", err)
	}
	ends, err := a.adm.ListCommittedOffsets(ctx, a.config.Topics...)
	if err != nil {
		return nil, fmt.Errorf("list end offsets: %w", err)
	}
	commits, err := a.adm.FetchOffsets(ctx, a.config.Group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // no group yet: no commits
		return nil, fmt.Errorf("fetch offsets of group %s: %w", a.config.Group, err)
	}
	names := topics.Names()
	slices.Sort(names)
	var all []PartitionProgress
	for _, name := range names {
		for _, part := range topics[name].Partitions.Sorted() {
			p := PartitionProgress{Topic: name, Partition: part.Partition, Committed: -1}
			if o, ok := starts.Lookup(name, part.Partition); ok {
				p.Start = o.Offset
			}
			if o, ok := ends.Lookup(name, part.Partition); ok {
				p.End = o.Offset
			}
			if c, ok := commits.Lookup(name, part.Partition); ok && c.At >= 0 {
				p.Committed = c.At
				cp, err := checkpoint.Decode(c.Metadata, c.At, event.TopicID(topics[name].ID))
				if p.Problem = err; err == nil {
					p.Lanes = cp.Lanes
				}
			}
			all = append(all, p)
		}
	}
	return all, nil
}

// Ping reports whether the cluster can be reached and lets us in.
func (a *Admin) Ping(ctx context.Context) error {
	if err := a.client.Ping(ctx); err != nil {
		return fmt.Errorf("reach kafka: %w", err)
	}
	return nil
}
