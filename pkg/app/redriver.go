package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/delivery"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// redriver obeys redrives and pushes for the partitions of this member: it reads what
// is left of them with every command and every assignment, has the engine send it again,
// and writes what became of it. It keeps nothing: a crash leaves what was not resolved.
type redriver struct {
	engine   *delivery.Engine
	letters  *Letters
	receipts *kafka.Receipts
	log      *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup

	// mu guards all below, between the control topic, the assignments and the targets.
	mu       sync.Mutex
	commands map[string]redriveCommand // by the record's key
	// wake has a place for each target with commands: one that is down must not keep
	// another waiting.
	wake map[string]chan struct{}
}

type redriveCommand struct {
	offset int64
	record control.Record
}

const (
	// A chunk of letters is in memory and in the lanes at once, beside their windows.
	chunkLetters = 200
	chunkBytes   = 4 << 20
	// redriveAgain is how long a target waits when something keeps a command from being
	// obeyed whole.
	redriveAgain = 5 * time.Second
)

func newRedriver(letters *Letters, receipts *kafka.Receipts, log *slog.Logger) *redriver {
	r := &redriver{
		letters: letters, receipts: receipts, log: log,
		commands: map[string]redriveCommand{}, wake: map[string]chan struct{}{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

func (r *redriver) stop() {
	r.cancel()
	r.done.Wait()
}

// obey takes a record of the control topic; one that means nothing was a tombstone.
func (r *redriver) obey(offset int64, record control.Record) {
	var target string
	var given bool
	switch c := record.(type) {
	case *control.Redrive:
		target, given = c.Target, c.UpTo != nil
	case *control.Push:
		target, given = c.Target, c.Target != ""
	default:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !given {
		delete(r.commands, string(record.Key()))
		return
	}
	if target != "" && !r.engine.HasTarget(target) { // nor will it as long as this member runs
		r.log.Warn("a command is of a target that this member's config lacks: on its partitions the command waits for a member that has the target",
			"command", string(record.Key()), "target", target)
		return
	}
	r.commands[string(record.Key())] = redriveCommand{offset, record}
	if r.wake[target] == nil {
		wake := make(chan struct{}, 1)
		r.wake[target] = wake
		r.done.Go(func() { r.serve(target, wake) })
	}
	poke(r.wake[target])
}

// assigned has every target look again: what is left of a partition that has come is
// ours to send.
func (r *redriver) assigned() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, wake := range r.wake {
		poke(wake)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// of returns the commands of a target, in the order in which they were given.
func (r *redriver) of(target string) (records []control.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []redriveCommand
	for _, c := range r.commands {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b redriveCommand) int { return cmp.Compare(a.offset, b.offset) })
	for _, c := range all {
		switch record := c.record.(type) {
		case *control.Redrive:
			if record.Target == target {
				records = append(records, record)
			}
		case *control.Push:
			if record.Target == target {
				records = append(records, record)
			}
		}
	}
	return records
}

// serve obeys the commands of one target whenever there may be something to do.
func (r *redriver) serve(target string, wake <-chan struct{}) {
	failed := ""
	for {
		again := make(<-chan time.Time)
		for _, c := range r.of(target) {
			if !r.stands(c) {
				continue
			}
			var err error
			switch c := c.(type) {
			case *control.Redrive:
				err = r.redrive(c)
			case *control.Push:
				err = r.push(c)
			}
			if err == nil || r.ctx.Err() != nil {
				continue
			}
			again = time.After(redriveAgain)
			if failed != err.Error() {
				failed = err.Error()
				r.log.Warn("a command is not obeyed whole yet; trying again", "command", string(c.Key()), "target", target, "err", err)
			}
		}
		select {
		case <-r.ctx.Done():
			return
		case <-wake:
		case <-again:
		}
	}
}

// stands reports whether a command was not taken away meanwhile.
func (r *redriver) stands(c control.Record) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.commands[string(c.Key())]
	return ok
}

// errWithdrawn ends a redrive that was taken away meanwhile.
var errWithdrawn = errors.New("the command was taken away")

// redrive sends what is left of a redrive and lies on partitions of this member. That may
// take as long as the target is down: before each chunk it looks whether the command stands,
// and which letters were resolved.
func (r *redriver) redrive(c *control.Redrive) error {
	var chunk []StoredLetter
	var bytes int
	send := func() error {
		if !r.stands(c) {
			return errWithdrawn
		}
		some, err := r.letters.stillLeft(r.ctx, chunk)
		chunk, bytes = nil, 0
		if err != nil || len(some) == 0 {
			return err
		}
		return r.send(c, some)
	}
	var missing error
	problems, err := r.letters.left(r.ctx, c, func(s *StoredLetter) error {
		if !r.engine.Owns(s.Position.Topic, s.Position.Partition) {
			return nil
		}
		original, err := r.letters.Original(r.ctx, s)
		if err != nil {
			missing = fmt.Errorf("dead letter %s: %w", s.ID, err)
			return nil
		}
		s.Original = original
		chunk = append(chunk, *s)
		if bytes += original.Size(); len(chunk) < chunkLetters && bytes < chunkBytes {
			return nil
		}
		return send()
	})
	for _, p := range problems {
		r.log.Warn("record of the dead-letter topic is passed over", "err", p)
	}
	if err == nil && len(chunk) > 0 {
		err = send()
	}
	if errors.Is(err, errWithdrawn) {
		return nil
	}
	return cmp.Or(err, missing)
}

// send has letters sent again, and writes how they ended.
func (r *redriver) send(c *control.Redrive, letters []StoredLetter) error {
	// References lie in any partition of their topic, so in any order.
	slices.SortStableFunc(letters, func(a, b StoredLetter) int { return cmp.Compare(a.Position.Offset, b.Position.Offset) })
	all := make([]delivery.Again, len(letters))
	for i, l := range letters {
		all[i] = delivery.Again{Record: l.Original, Target: l.Target, Command: c.ID, Failed: l.Written}
	}
	outcomes, failed := r.engine.Redeliver(r.ctx, all)
	var ended []receipt.Resolution
	for i, outcome := range outcomes {
		if outcome == "" {
			continue
		}
		ended = append(ended, receipt.Resolution{
			Letter: letters[i].ID, Outcome: receipt.Redriven, Time: time.Now(), By: c.By, Reason: c.Reason, Command: c.ID, Result: outcome,
		})
		r.log.Info("dead letter was sent again", "id", letters[i].ID, "command", c.ID, "outcome", outcome)
	}
	if err := r.receipts.WriteResolutions(r.ctx, ended); err != nil {
		return err
	}
	if failed == nil && len(ended) < len(letters) {
		failed = fmt.Errorf("%d dead letters did not settle here", len(letters)-len(ended))
	}
	return failed
}

// push sends the record of a push again, and takes the command away.
func (r *redriver) push(c *control.Push) error {
	if !r.engine.Owns(c.Topic, c.Partition) {
		return nil
	}
	record, err := r.letters.record(r.ctx, event.Position{Topic: c.Topic, Partition: c.Partition, Offset: c.Offset})
	if err != nil {
		return err
	}
	outcomes, err := r.engine.Redeliver(r.ctx, []delivery.Again{{Record: record, Target: c.Target, Command: c.ID, Repeat: true}})
	if err != nil || outcomes[0] == "" {
		return err // of another member by now
	}
	r.log.Info("policy was sent again", "target", c.Target, "key", c.PolicyKey, "command", c.ID, "outcome", outcomes[0])
	// Not again before the tombstone comes.
	r.mu.Lock()
	delete(r.commands, string(c.Key()))
	r.mu.Unlock()
	return r.letters.adm.Withdraw(r.ctx, r.letters.cfg.Control.Topic, c)
}

// proofs reads receipts for the engine.
type proofs struct {
	adm   *kafka.Admin
	topic string
}

// Held implements [delivery.Proofs].
func (p proofs) Held(ctx context.Context, target string, keys []string) ([]receipt.Receipt, error) {
	places := make([][]byte, len(keys))
	wanted := map[string]bool{}
	for i, key := range keys {
		places[i], wanted[key] = []byte(key), true
	}
	type place struct {
		kind receipt.Kind
		key  string
	}
	found := map[place]*receipt.Receipt{}
	var broken error
	err := p.adm.ReadReceipts(ctx, p.topic, places, time.Time{}, func(key, value []byte) {
		kind, of, policy, err := receipt.ParseKey(key)
		if err != nil || of != target || !wanted[policy] || value == nil {
			return
		}
		at := place{kind, policy}
		r, err := receipt.Decode(key, value)
		switch {
		case err != nil:
			broken = err
		case found[at] == nil || !r.Late(found[at]):
			found[at] = r
		}
	})
	var all []receipt.Receipt
	for _, r := range found {
		all = append(all, *r)
	}
	return all, cmp.Or(err, broken)
}
