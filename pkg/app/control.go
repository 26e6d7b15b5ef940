package app

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// follow has the engine obey the control topic: what is in it already before follow
// returns, hence before the group is joined.
func (a *App) follow(ctx context.Context, redrives *redriver, sweep *sweeper) error {
	return a.persist(ctx, "control topic", func(ctx context.Context) error {
		f, err := kafka.FollowControl(ctx, a.cfg.Kafka, a.cfg.Control.Topic, a.o.Logger, func(offset int64, key, value []byte) {
			r, err := decodeControl(key, value)
			if err != nil {
				a.o.Logger.ErrorContext(ctx, "control record is passed over", "err", err)
				return
			}
			a.engine.Obey(offset, r)
			redrives.obey(offset, r)
			sweep.obey(offset, r)
		})
		if err == nil {
			a.onStop("control topic", func(context.Context) error { f.Close(); return nil })
		}
		return err
	})
}

// decodeControl reads a record of the control topic. A tombstone of state is its absence.
func decodeControl(key, value []byte) (control.Record, error) {
	if value != nil {
		return control.Decode(key, value)
	}
	return control.Absent(key)
}

// NewCommandID is a name that no other command has.
func NewCommandID() string { return strings.ToLower(rand.Text()[:10]) }

// Origin says who runs this process, for a command that it gives now.
func Origin(reason string) control.Origin {
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return control.Origin{By: name, Time: time.Now().UTC(), Reason: reason}
}

// Command writes a record to the control topic. Its errors are [ErrNoTarget], if the
// config lacks the target, and those of Kafka.
func Command(ctx context.Context, cfg *config.Config, target string, r control.Record, log *slog.Logger) error {
	if _, err := FindTarget(cfg, target); err != nil {
		return err
	}
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return err
	}
	defer adm.Close()
	return give(ctx, cfg, adm, r)
}

// give writes commands to the control topic, which must exist: Kafka might make it, and
// not compacted.
func give(ctx context.Context, cfg *config.Config, adm *kafka.Admin, records ...control.Record) error {
	if _, err := adm.EndOf(ctx, cfg.Control.Topic); err != nil {
		return err
	}
	for _, r := range records {
		if _, err := adm.Command(ctx, cfg.Control.Topic, r); err != nil {
			return err
		}
	}
	return nil
}

// Commands is what the control topic holds.
type Commands struct {
	// Pauses are those of targets that are paused.
	Pauses []PauseStatus `json:"pauses"`
	// Accepted are the targets whose dead letters are accepted up to a time.
	Accepted []AcceptStatus `json:"accepted_dead_letters"`
	// Replays are those that not every partition is known to have obeyed.
	Replays []ReplayStatus `json:"replays"`
	// Redrives are those that have not been taken away, Pushes those that no member has
	// obeyed.
	Redrives []RedriveStatus `json:"redrives"`
	Pushes   []PushStatus    `json:"pushes"`
	// Done is what else was done, in the order in which it was.
	Done []DoneStatus `json:"done"`
	// Problems are records that this release can't read.
	Problems []string `json:"problems,omitempty"`
}

// PauseStatus is a target that is paused.
type PauseStatus struct {
	Target string `json:"target"`
	control.Origin
}

// AcceptStatus is a target whose dead letters are accepted.
type AcceptStatus struct {
	Target string    `json:"target"`
	UpTo   time.Time `json:"up_to"`
	control.Origin
}

// PushStatus is a push that nobody has obeyed yet.
type PushStatus struct {
	ID string `json:"id"`
	*control.Push
}

// DoneStatus is what somebody has done.
type DoneStatus struct {
	ID string `json:"id"`
	*control.Done
}

// ReplayStatus is a replay, and how far each partition is with it.
type ReplayStatus struct {
	ID string `json:"id"`
	*control.Replay
	Parts []ReplayPart `json:"parts"`

	offset int64
}

// ReadCommands reads the control topic, from the commits how far replays are, and from
// what became of dead letters how far redrives are.
func ReadCommands(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Commands, error) {
	c := &Commands{Pauses: []PauseStatus{}, Accepted: []AcceptStatus{}, Replays: []ReplayStatus{}, Redrives: []RedriveStatus{}, Pushes: []PushStatus{}, Done: []DoneStatus{}}
	f, err := kafka.FollowControl(ctx, cfg.Kafka, cfg.Control.Topic, log, c.add)
	if err != nil {
		return nil, err
	}
	f.Close()
	letters, err := OpenLetters(cfg, log)
	if err != nil {
		return nil, err
	}
	defer letters.Close()
	for i := range c.Replays {
		r := &c.Replays[i]
		if r.Parts, err = ReplayProgress(ctx, letters.adm, r.Replay, r.offset); err != nil {
			return nil, err
		}
	}
	if len(c.Redrives) > 0 {
		err = letters.Progress(ctx, c.Redrives)
	}
	return c, err
}

// add takes the next record: the last of a key holds.
func (c *Commands) add(offset int64, key, value []byte) {
	record, err := decodeControl(key, value)
	switch r := record.(type) {
	case *control.Pause:
		c.Pauses = slices.DeleteFunc(c.Pauses, func(p PauseStatus) bool { return p.Target == r.Target })
		if r.Paused {
			c.Pauses = append(c.Pauses, PauseStatus{r.Target, r.Origin})
		}
	case *control.Accept:
		c.Accepted = slices.DeleteFunc(c.Accepted, func(a AcceptStatus) bool { return a.Target == r.Target })
		if !r.UpTo.IsZero() {
			c.Accepted = append(c.Accepted, AcceptStatus{r.Target, r.UpTo, r.Origin})
		}
	case *control.Redrive:
		c.Redrives = slices.DeleteFunc(c.Redrives, func(old RedriveStatus) bool { return old.ID == r.ID })
		if r.UpTo != nil {
			c.Redrives = append(c.Redrives, RedriveStatus{ID: r.ID, Redrive: r})
		}
	case *control.Push:
		c.Pushes = slices.DeleteFunc(c.Pushes, func(old PushStatus) bool { return old.ID == r.ID })
		if r.Target != "" {
			c.Pushes = append(c.Pushes, PushStatus{r.ID, r})
		}
	case *control.Done:
		c.Done = slices.DeleteFunc(c.Done, func(old DoneStatus) bool { return old.ID == r.ID })
		if r.What != "" {
			c.Done = append(c.Done, DoneStatus{r.ID, r})
		}
	case *control.Replay:
		c.Replays = slices.DeleteFunc(c.Replays, func(old ReplayStatus) bool { return old.ID == r.ID })
		if r.Target != "" {
			c.Replays = append(c.Replays, ReplayStatus{ID: r.ID, Replay: r, offset: offset})
		}
	}
	if err != nil && !errors.Is(err, control.ErrUnknown) {
		c.Problems = append(c.Problems, err.Error())
	}
}
