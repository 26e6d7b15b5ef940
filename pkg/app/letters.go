package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/deadletter"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/receipt"
)

// StoredLetter is a letter as its topic has it.
type StoredLetter struct {
	deadletter.Letter
	// At is where it lies on the dead-letter topic.
	At event.Position
	// Written is when the topic got it.
	Written time.Time
	// Original is the record that could not be delivered; nil if the letter is a
	// reference.
	Original *event.Record
}

// letterKey stands for a letter's id in memory: some 40 bytes for each letter are all
// that reading the topic takes.
type letterKey [16]byte

func keyOf(id string) letterKey {
	sum := sha256.Sum256([]byte(id))
	return letterKey(sum[:16])
}

// Letters reads and settles the dead letters of a group.
type Letters struct {
	cfg *config.Config
	adm *kafka.Admin
	log *slog.Logger
}

// OpenLetters returns one; it needs no running member.
func OpenLetters(cfg *config.Config, log *slog.Logger) (*Letters, error) {
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	return &Letters{cfg: cfg, adm: adm, log: log}, nil
}

// Close closes the connections.
func (l *Letters) Close() { l.adm.Close() }

// Unresolved calls each for the letters that the filter selects and nobody has
// resolved, once for each id. Problems are records of the topic that cannot be read.
func (l *Letters) Unresolved(ctx context.Context, f *deadletter.Filter, each func(*StoredLetter) error) (problems []error, err error) {
	return l.unresolved(ctx, f.Since, func(s *StoredLetter) bool { return f.Selects(&s.Letter, s.Original, s.Written) }, each)
}

func (l *Letters) unresolved(ctx context.Context, since time.Time, selects func(*StoredLetter) bool, each func(*StoredLetter) error) (problems []error, err error) {
	done, err := l.resolved(ctx, &problems)
	if err != nil {
		return nil, err
	}
	err = l.scan(ctx, since, &problems, func(s *StoredLetter) error {
		id := keyOf(s.ID)
		if _, seen := done[id]; seen || !selects(s) {
			return nil
		}
		done[id] = struct{}{}
		return each(s)
	})
	return problems, err
}

// stillLeft returns those of the letters that nobody has resolved meanwhile.
func (l *Letters) stillLeft(ctx context.Context, letters []StoredLetter) ([]StoredLetter, error) {
	var problems []error // whoever found the letters has told
	done, err := l.resolved(ctx, &problems)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(letters, func(s StoredLetter) bool { _, ok := done[keyOf(s.ID)]; return ok }), nil
}

func (l *Letters) resolved(ctx context.Context, problems *[]error) (map[letterKey]struct{}, error) {
	done := map[letterKey]struct{}{}
	err := l.resolutions(ctx, func(r *receipt.Resolution) { done[keyOf(r.Letter)] = struct{}{} }, problems)
	return done, err
}

// ErrNoLetter reports an id that no letter of the topic has.
var ErrNoLetter = errors.New("there is no such dead letter")

// errFound ends a scan.
var errFound = errors.New("found")

// Find reads one letter, and what became of it: nil if nobody has resolved it.
func (l *Letters) Find(ctx context.Context, id string) (found *StoredLetter, resolved *receipt.Resolution, err error) {
	var problems []error
	err = l.scan(ctx, time.Time{}, &problems, func(s *StoredLetter) error {
		if s.ID != id {
			return nil
		}
		found = s
		return errFound
	})
	if err != nil && !errors.Is(err, errFound) {
		return nil, nil, err
	}
	if found == nil {
		return nil, nil, errors.Join(fmt.Errorf("dead letter %s: %w", id, ErrNoLetter), errors.Join(problems...))
	}
	err = l.resolutions(ctx, func(r *receipt.Resolution) {
		if r.Letter == id {
			resolved = r
		}
	}, &problems)
	return found, resolved, err
}

// Original reads the record of a letter that is a reference from its source.
func (l *Letters) Original(ctx context.Context, s *StoredLetter) (*event.Record, error) {
	if s.Original != nil {
		return s.Original, nil
	}
	at := s.Position
	r, err := l.record(ctx, at)
	if err == nil && r.TopicID != at.TopicID {
		return nil, fmt.Errorf("read record %s: the topic was made anew", at)
	}
	return r, err
}

func (l *Letters) record(ctx context.Context, at event.Position) (*event.Record, error) {
	return l.adm.Record(ctx, at.Topic, at.Partition, at.Offset)
}

// resolutionBatch is how many resolutions are written at once.
const resolutionBatch = 1000

// Discard resolves the letters of the ids.
func (l *Letters) Discard(ctx context.Context, ids []string, o control.Origin) error {
	w, err := kafka.NewReceipts(l.cfg.Kafka, l.cfg.Receipts.Topic, l.log)
	if err != nil {
		return err
	}
	defer w.Close()
	for part := range slices.Chunk(ids, resolutionBatch) {
		done := &control.Done{ID: NewCommandID(), What: control.DoneDiscard, Letters: part, Origin: o}
		if err := give(ctx, l.cfg, l.adm, done); err != nil {
			return err
		}
		resolutions := make([]receipt.Resolution, len(part))
		for i, id := range part {
			resolutions[i] = receipt.Resolution{Letter: id, Outcome: receipt.Discarded, Time: o.Time, By: o.By, Reason: o.Reason}
		}
		if err := w.WriteResolutions(ctx, resolutions); err != nil {
			return err
		}
	}
	return nil
}

// scan reads the dead-letter topic. What is no letter goes to problems.
func (l *Letters) scan(ctx context.Context, since time.Time, problems *[]error, each func(*StoredLetter) error) error {
	spans, err := l.adm.Spans(ctx, since, l.cfg.DeadLetters.Topic)
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	return l.scanSpans(ctx, spans, problems, each)
}

func (l *Letters) scanSpans(ctx context.Context, spans []kafka.Span, problems *[]error, each func(*StoredLetter) error) error {
	err := l.adm.Scan(ctx, spans, func(r *event.Record) error {
		letter, original, err := deadletter.Decode(r)
		if err != nil {
			note(problems, err)
			return nil
		}
		return each(&StoredLetter{Letter: letter, At: r.Position, Written: r.Timestamp, Original: original})
	})
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	return nil
}

// resolutions reads what became of letters, the last word on each coming last.
func (l *Letters) resolutions(ctx context.Context, each func(*receipt.Resolution), problems *[]error) error {
	place := [][]byte{receipt.PartitionKey([]byte(receipt.KindLetter))}
	err := l.adm.ReadReceipts(ctx, l.cfg.Receipts.Topic, place, time.Time{}, func(key, value []byte) {
		if kind, _, _, err := receipt.ParseKey(key); err != nil || kind != receipt.KindLetter || value == nil {
			return
		}
		r, err := receipt.DecodeResolution(key, value)
		if err != nil {
			note(problems, err)
			return
		}
		each(r)
	})
	if err != nil {
		return fmt.Errorf("read resolutions: %w", err)
	}
	return nil
}

// note keeps the first few problems: somebody else's records may be many.
func note(problems *[]error, err error) {
	if len(*problems) < 10 {
		*problems = append(*problems, err)
	}
}
