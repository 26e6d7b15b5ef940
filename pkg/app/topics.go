package app

import (
	"context"
	"log/slog"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// letterBytes is the largest dead letter that its topic takes: a record of any
// usual size with its headers.
const letterBytes = 16 << 20

// receiptPartitions is how many parts the receipts come in, for ever: more would lead
// a policy's new receipts elsewhere than its old ones. To ask for one policy reads one.
const receiptPartitions = 16

// neededTopics are those without which no member starts.
func neededTopics(cfg *config.Config) []string {
	return append([]string{cfg.DeadLetters.Topic, cfg.Receipts.Topic, cfg.Control.Topic}, cfg.Kafka.Topics...)
}

// CreateTopics creates the topics that policysync owns, where they do not exist,
// and returns the names of those it created.
func CreateTopics(ctx context.Context, cfg *config.Config, log *slog.Logger) ([]string, error) {
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	retention := int64(-1)
	if r := cfg.DeadLetters.Retention; r > 0 {
		retention = r.Milliseconds()
	}
	return adm.CreateTopics(ctx, []kafka.TopicSpec{
		{Name: cfg.DeadLetters.Topic, Partitions: 3, RetentionMillis: retention, MaxMessageBytes: letterBytes},
		{Name: cfg.Receipts.Topic, Partitions: receiptPartitions, Compacted: true, MaxMessageBytes: 1 << 20},
		{Name: cfg.Control.Topic, Partitions: 1, Compacted: true, MaxMessageBytes: 1 << 20},
	})
}
