package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// RedriveRequest says which dead letters to send again, and who wants it.
type RedriveRequest struct {
	deadletter.Filter
	control.Origin

	// AllowOldVersions redrives although nobody can tell whether a target has a newer
	// version.
	AllowOldVersions bool
}

// RedriveStatus is a redrive, and how far it is.
type RedriveStatus struct {
	ID string `json:"id"`
	*control.Redrive

	// Left is how many letters nobody has resolved.
	Left int `json:"left"`
	// Settled counts the others that this command has sent again, by how that settled.
	Settled map[string]int `json:"settled"`
}

// maxIDs bounds the ids of one request: they must fit in one record.
const maxIDs = 1000

// NewRedrives works out the commands, one for each target that the selected letters
// are of; that of no target is for records that could not be read. It gives none: see
// [Letters.StartRedrives]. Problems are records that cannot be read as letters. Its errors
// are a [*RequestError], [ErrNoTarget], an [*OldVersionsError] and those of Kafka.
func (l *Letters) NewRedrives(ctx context.Context, q RedriveRequest) (redrives []RedriveStatus, problems []error, err error) {
	if len(q.IDs) > maxIDs {
		return nil, nil, &RequestError{fmt.Errorf("%d ids are more than one command takes: %d", len(q.IDs), maxIDs)}
	}
	spans, err := l.adm.Spans(ctx, time.Time{}, l.cfg.DeadLetters.Topic)
	if err != nil {
		return nil, nil, fmt.Errorf("read dead letters: %w", err)
	}
	upTo := map[int32]int64{}
	for _, s := range spans {
		upTo[s.Partition] = s.End
	}
	found := map[string]int{}
	problems, err = l.Unresolved(ctx, &q.Filter, func(s *StoredLetter) error {
		if s.At.Offset < upTo[s.At.Partition] {
			found[s.Target]++
		}
		return nil
	})
	if err != nil {
		return nil, problems, err
	}
	redrives = []RedriveStatus{}
	for target, n := range found {
		if err := l.redrivable(target, q.AllowOldVersions); err != nil {
			return nil, problems, err
		}
		r := &control.Redrive{ID: NewCommandID(), Filter: q.Filter, UpTo: upTo, Origin: q.Origin}
		r.Target = target
		redrives = append(redrives, RedriveStatus{ID: r.ID, Redrive: r, Left: n, Settled: map[string]int{}})
	}
	slices.SortFunc(redrives, func(a, b RedriveStatus) int { return strings.Compare(a.Target, b.Target) })
	return redrives, problems, nil
}

// redrivable reports why letters of a target can't be sent again: [ErrNoTarget], or an
// [*OldVersionsError].
func (l *Letters) redrivable(target string, allowOld bool) error {
	if target != "" {
		if _, err := FindTarget(l.cfg, target); err != nil {
			return err
		}
	}
	if !l.cfg.Receipts.Off || allowOld {
		return nil
	}
	for i := range l.cfg.Targets {
		if t := &l.cfg.Targets[i]; (target == "" || target == t.Name) && !ChecksVersions(t) {
			return &OldVersionsError{"receipts are off, and nobody knows whether " + t.Name + " has a newer version"}
		}
	}
	return nil
}

// ChecksVersions reports whether the target itself refuses older versions than it has.
func ChecksVersions(t *config.Target) bool {
	guard, ok := t.Spec.(connector.Guard)
	return ok && guard.ChecksVersions()
}

// StartRedrives gives the commands.
func (l *Letters) StartRedrives(ctx context.Context, redrives []RedriveStatus) error {
	records := make([]control.Record, len(redrives))
	for i, r := range redrives {
		records[i] = r.Redrive
	}
	return give(ctx, l.cfg, l.adm, records...)
}

// left calls each for the letters of a redrive that nobody has resolved, once for each
// id.
func (l *Letters) left(ctx context.Context, c *control.Redrive, each func(*StoredLetter) error) ([]error, error) {
	return l.unresolved(ctx, c.Since, func(s *StoredLetter) bool {
		return c.Selects(&s.Letter, s.Original, s.At, s.Written)
	}, each)
}

// FinishRedrives takes commands away of which nothing is left.
func (l *Letters) FinishRedrives(ctx context.Context, redrives []RedriveStatus) error {
	for _, r := range redrives {
		if err := l.adm.Withdraw(ctx, l.cfg.Control.Topic, r.Redrive); err != nil {
			return err
		}
	}
	return nil
}

// Progress counts anew what is left of redrives, and how the rest has settled.
func (l *Letters) Progress(ctx context.Context, redrives []RedriveStatus) error {
	for i := range redrives {
		redrives[i].Left, redrives[i].Settled = 0, map[string]int{}
	}
	var problems []error
	done := map[letterKey]struct{}{}
	err := l.resolutions(ctx, func(r *receipt.Resolution) {
		done[keyOf(r.Letter)] = struct{}{}
		for i := range redrives {
			if r.Command == redrives[i].ID {
				redrives[i].Settled[r.Result]++
			}
		}
	}, &problems)
	if err != nil {
		return err
	}
	return l.scan(ctx, time.Time{}, &problems, func(s *StoredLetter) error {
		id := keyOf(s.ID)
		if _, seen := done[id]; seen {
			return nil
		}
		for i := range redrives {
			if redrives[i].Selects(&s.Letter, s.Original, s.At, s.Written) {
				redrives[i].Left++
				done[id] = struct{}{}
			}
		}
		return nil
	})
}
