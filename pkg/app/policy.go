package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// ErrReceiptsOff tells that nothing is kept of policies.
var ErrReceiptsOff = errors.New("receipts are off in this config, so nobody knows which version a target has; " +
	"take `receipts: off` out, restart the members, and what they push from then on is kept")

// PolicyStatus is what the receipts prove of one policy.
type PolicyStatus struct {
	Key     string         `json:"key"`
	Targets []PolicyTarget `json:"targets"`
	// Problems are receipts that cannot be read.
	Problems []string `json:"problems,omitempty"`

	// receipts are all that the topic still has, in its order.
	receipts []*receipt.Receipt
}

// PolicyTarget is one policy at one target.
type PolicyTarget struct {
	Target string `json:"target"`
	// Configured is false for a target that only the receipts know.
	Configured bool `json:"configured"`
	// Outcome is that of the newer of the two below; empty if nothing is known.
	Outcome string `json:"outcome,omitempty"`
	// Held is the version that the target has, Last the last outcome that was no
	// delivery; each nil if there is none.
	Held *receipt.Receipt `json:"held,omitempty"`
	Last *receipt.Receipt `json:"last,omitempty"`
}

// ReadPolicy reads the receipts of one policy, from their one partition. It needs no
// running member.
func ReadPolicy(ctx context.Context, cfg *config.Config, key string, log *slog.Logger) (*PolicyStatus, error) {
	if cfg.Receipts.Off {
		return nil, ErrReceiptsOff
	}
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	s := &PolicyStatus{Key: key}
	for _, t := range cfg.Targets {
		s.Targets = append(s.Targets, PolicyTarget{Target: t.Name, Configured: true})
	}
	if err := adm.ReadReceipts(ctx, cfg.Receipts.Topic, [][]byte{[]byte(key)}, time.Time{}, s.add); err != nil {
		return nil, err
	}
	for i := range s.Targets {
		t := &s.Targets[i]
		switch {
		case t.Held != nil && (t.Last == nil || !t.Last.Time.After(t.Held.Time)):
			t.Outcome = t.Held.Outcome
		case t.Last != nil:
			t.Outcome = t.Last.Outcome
		}
	}
	return s, nil
}

// add takes a record of the receipts topic if it is of the policy.
func (s *PolicyStatus) add(key, value []byte) {
	kind, target, policy, err := receipt.ParseKey(key)
	if err != nil || kind != receipt.KindHeld && kind != receipt.KindLast || policy != s.Key {
		return // another policy's, or of a later release
	}
	r, err := receipt.Decode(key, value)
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
		return
	}
	s.receipts = append(s.receipts, r)
	i := slices.IndexFunc(s.Targets, func(t PolicyTarget) bool { return t.Target == target })
	if i < 0 {
		i = len(s.Targets)
		s.Targets = append(s.Targets, PolicyTarget{Target: target})
	}
	at := &s.Targets[i].Last
	if kind == receipt.KindHeld {
		at = &s.Targets[i].Held
	}
	if *at == nil || !r.Late(*at) {
		*at = r
	}
}

// readMembers returns the members that are alive, by their own word.
func readMembers(ctx context.Context, adm *kafka.Admin, topic string) ([]receipt.Member, error) {
	found := map[string]*receipt.Member{}
	var broken error
	now := time.Now()
	// What clocks may differ by is read too.
	err := adm.ReadReceipts(ctx, topic, [][]byte{receipt.PartitionKey(receipt.MemberKey(""))}, now.Add(-time.Minute), func(key, value []byte) {
		kind, _, id, err := receipt.ParseKey(key)
		if err != nil || kind != receipt.KindMember {
			return
		}
		delete(found, id)
		if value == nil {
			return
		}
		m, err := receipt.DecodeMember(value)
		if err != nil {
			broken = errors.Join(broken, err)
		} else if m.Alive(now) {
			found[id] = m
		}
	})
	if err = errors.Join(err, broken); err != nil {
		return nil, fmt.Errorf("read members: %w", err)
	}
	members := []receipt.Member{}
	for _, m := range found {
		members = append(members, *m)
	}
	slices.SortFunc(members, func(a, b receipt.Member) int { return strings.Compare(a.ID, b.ID) })
	return members, nil
}
