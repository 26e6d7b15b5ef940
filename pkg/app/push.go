package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
	"github.com/hms-sme/policysync/pkg/verify"
)

// ErrNoPolicy reports a key of which the topics hold no version for the target.
var ErrNoPolicy = errors.New("the topics hold no version of the policy that the target wants")

// NewPush finds the newest version of a policy that a target wants, by reading the
// target's topics. Its errors are [ErrNoTarget], [ErrNoPolicy] and those of Kafka and the
// registry.
func (p *Previewer) NewPush(ctx context.Context, target, key string, progress func(read, all int64)) (*control.Push, error) {
	t, err := p.plan.wanted(target)
	if err != nil {
		return nil, err
	}
	adm, err := kafka.NewAdmin(p.plan.cfg.Kafka, p.log)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	spans, err := adm.Spans(ctx, time.Time{}, t.topics()...)
	if err != nil {
		return nil, err
	}
	newest := verify.NewNewest(p.plan.byOffset(t.Target, p.log))
	err = t.scan(ctx, adm, spans, progress, func(r *event.Record) bool {
		return p.plan.Reader.KeyFromValue(r.Topic) || string(r.Key) == key
	}, func(ev *event.Event) {
		if ev.HasKey && ev.Key == key {
			newest.Add(ev)
		}
	})
	if err != nil {
		return nil, err
	}
	for place, offsets := range newest.Offsets() {
		return &control.Push{
			ID: NewCommandID(), Target: target, PolicyKey: key, Topic: place.Topic, Partition: place.Partition, Offset: offsets[0],
		}, nil
	}
	return nil, fmt.Errorf("policy %q: %w", key, ErrNoPolicy)
}

// wants is a target, and which events it wants.
type wants struct {
	*config.Target

	plan  *Plan
	index int
}

func (p *Plan) wanted(target string) (*wants, error) {
	i, err := FindTarget(p.cfg, target)
	if err != nil {
		return nil, err
	}
	return &wants{Target: &p.cfg.Targets[i], plan: p, index: i}, nil
}

func (w *wants) topics() []string {
	if w.Topics != nil {
		return w.Topics
	}
	return w.plan.cfg.Kafka.Topics
}

// scan calls each for the events that the target wants, of the records that
// may be of interest. Those that can't be read have no part in it: they are dead letters.
func (w *wants) scan(ctx context.Context, adm *kafka.Admin, spans []kafka.Span, progress func(read, all int64),
	may func(*event.Record) bool, each func(*event.Event),
) error {
	var read, all int64
	for _, s := range spans {
		all += s.End - s.Start
	}
	return adm.Scan(ctx, spans, func(r *event.Record) error {
		if read++; read%1000 == 0 {
			progress(read, all)
		}
		if !may(r) {
			return nil
		}
		ev, err := w.plan.event(ctx, r)
		if err != nil {
			return ctx.Err()
		}
		if v := w.plan.Router.Route(ev).Targets[w.index]; v.Err == nil && v.Deliver {
			each(ev)
		}
		return nil
	})
}

// Withdrawn returns a channel that is closed when a command does not stand any more.
func Withdrawn(ctx context.Context, cfg *config.Config, r control.Record, log *slog.Logger) (gone <-chan struct{}, stop func(), err error) {
	withdrawn := make(chan struct{})
	key, once := string(r.Key()), sync.Once{}
	f, err := kafka.FollowControl(ctx, cfg.Kafka, cfg.Control.Topic, log, func(_ int64, k, value []byte) {
		if string(k) == key && value == nil {
			once.Do(func() { close(withdrawn) })
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return withdrawn, f.Close, nil
}

// AwaitPush waits until a push that was commanded is obeyed, and returns how it settled,
// as the receipts tell; "" with receipts off.
func AwaitPush(ctx context.Context, cfg *config.Config, p *control.Push, log *slog.Logger) (outcome string, err error) {
	obeyed, stop, err := Withdrawn(ctx, cfg, p, log)
	if err != nil {
		return "", err
	}
	defer stop()
	select {
	case <-obeyed:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if cfg.Receipts.Off {
		return "", nil
	}
	s, err := ReadPolicy(ctx, cfg, p.PolicyKey, log)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(s.Targets, func(t PolicyTarget) bool { return t.Target == p.Target })
	held, last := s.Targets[i].Held, s.Targets[i].Last
	switch {
	case last != nil && strings.HasSuffix(last.Letter, "/"+p.ID):
		return receipt.DeadLettered, nil
	case held != nil && held.Source.Topic == p.Topic && held.Source.Partition == p.Partition && held.Source.Offset == p.Offset:
		return receipt.Delivered, nil
	}
	return receipt.Stale, nil
}
