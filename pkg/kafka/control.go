package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/control"
)

// Control follows the control topic, whose only partition is 0.
type Control struct {
	client *kgo.Client
	topic  string
	obey   func(offset int64, key, value []byte)
	next   int64
	done   chan struct{}
}

// FollowControl reads the control topic from its beginning. When it returns, obey was
// called for every record up to the present end, in order; from then on it is called,
// from another goroutine, for each that comes, until Close. A nil value is a tombstone.
func FollowControl(ctx context.Context, c Config, topic string, log *slog.Logger, obey func(offset int64, key, value []byte)) (*Control, error) {
	client, err := c.dial(log, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {0: kgo.NewOffset().AtStart()},
	}), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	f := &Control{client: client, topic: topic, obey: obey, done: make(chan struct{})}
	if err := f.catchUp(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("read %s: %w", topic, err)
	}
	go f.follow(context.WithoutCancel(ctx), log)
	return f, nil
}

func (f *Control) catchUp(ctx context.Context) error {
	adm := kadm.NewClient(f.client)
	starts, err := adm.ListStartOffsets(ctx, f.topic)
	if err != nil {
		return fmt.Errorf("list start offsets: %w", err)
	}
	ends, err := adm.ListEndOffsets(ctx, f.topic)
	if err != nil {
		return fmt.Errorf("list end offsets: %w", err)
	}
	start, ok := starts.Lookup(f.topic, 0)
	end, _ := ends.Lookup(f.topic, 0)
	if err := errors.Join(start.Err, end.Err); err != nil || !ok {
		return cmp.Or(err, errors.New("there is no such topic"))
	}
	for f.next = start.Offset; f.next < end.Offset; {
		fetches := f.client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		f.take(fetches)
	}
	return nil
}

func (f *Control) take(fetches kgo.Fetches) {
	fetches.EachRecord(func(r *kgo.Record) {
		f.next = r.Offset + 1
		f.obey(r.Offset, r.Key, r.Value)
	})
}

func (f *Control) follow(ctx context.Context, log *slog.Logger) {
	defer close(f.done)
	for {
		fetches := f.client.PollFetches(ctx)
		if fetches.IsClientClosed() {
			return
		}
		fetches.EachError(func(topic string, _ int32, err error) {
			log.ErrorContext(ctx, "follow the control topic; trying again", "topic", topic, "err", err)
		})
		f.take(fetches)
		if fetches.Err() != nil { // kgo asks again at once
			<-time.After(time.Second)
		}
	}
}

// Close ends the following. When it returns, obey is not called any more.
func (f *Control) Close() {
	f.client.Close()
	<-f.done
}

// Command writes a record to the control topic and returns its offset once the brokers
// have acknowledged it.
func (a *Admin) Command(ctx context.Context, topic string, r control.Record) (int64, error) {
	key, value, err := control.Encode(r)
	if err != nil {
		return 0, err
	}
	written, err := a.client.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: key, Value: value}).First()
	if err != nil {
		return 0, fmt.Errorf("write %s to %s: %w", key, topic, err)
	}
	return written.Offset, nil
}

// Withdraw deletes a record of the control topic.
func (a *Admin) Withdraw(ctx context.Context, topic string, r control.Record) error {
	if err := a.client.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: r.Key()}).FirstErr(); err != nil {
		return fmt.Errorf("withdraw %s from %s: %w", r.Key(), topic, err)
	}
	return nil
}

// EndOf is the offset that the next record of the control topic will get.
func (a *Admin) EndOf(ctx context.Context, topic string) (int64, error) {
	ends, err := a.adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("list end offsets of %s: %w", topic, err)
	}
	end, ok := ends.Lookup(topic, 0)
	if !ok || end.Err != nil {
		return 0, fmt.Errorf("topic %s does not exist; `policysync topics create` makes it", topic)
	}
	return end.Offset, nil
}

// OffsetsAt returns, by TOPIC/PARTITION of the group's topics, the first offset whose
// record is not older than a time, the end of the log if there is none.
func (a *Admin) OffsetsAt(ctx context.Context, at time.Time) (map[string]int64, error) {
	found, err := a.adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), a.config.Topics...)
	if err == nil {
		err = found.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list offsets at %s: %w", at, err)
	}
	by := map[string]int64{}
	found.Each(func(o kadm.ListedOffset) { by[fmt.Sprintf("%s/%d", o.Topic, o.Partition)] = o.Offset })
	return by, nil
}
