package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/admin"
	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/deadletter"
)

// order is what an operator asks for. Each call takes those fields that it needs.
type order struct {
	// Filter selects dead letters; its target is that of every order.
	deadletter.Filter

	Reason string `json:"reason"`
	DryRun bool   `json:"dry_run"`
	// AcceptDeadLetters is for resume.
	AcceptDeadLetters bool `json:"accept_dead_letters"`
	// From, To, Every and AllowOldVersions are for replay.
	From             string `json:"from"`
	To               string `json:"to"`
	Every            bool   `json:"every"`
	AllowOldVersions bool   `json:"allow_old_versions"`
	// ID is the command to cancel.
	ID string `json:"id"`
}

// read takes an order from a request. What is not JSON no form of another site can send.
func read(r *http.Request) (*order, control.Origin, error) {
	origin := control.Origin{By: admin.UserOf(r.Context()).Name, Time: time.Now().UTC()}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return nil, origin, &app.RequestError{Err: errors.New("want Content-Type: application/json")}
	}
	in := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20))
	in.DisallowUnknownFields()
	o := &order{}
	if err := in.Decode(o); err != nil {
		return nil, origin, &app.RequestError{Err: fmt.Errorf("read order: %w", err)}
	}
	origin.Reason = o.Reason
	return o, origin, nil
}

// audit says in the log too what somebody has changed: records of the control topic are
// compacted in time.
func (c *Console) audit(r *http.Request, what string, o *order, args ...any) {
	c.o.Logger.InfoContext(r.Context(), "changed by the console", append([]any{
		"what", what, "by", admin.UserOf(r.Context()).Name, "target", o.Target, "reason", o.Reason,
	}, args...)...)
}

func (c *Console) pause(r *http.Request) (any, error) {
	o, origin, err := read(r)
	if err != nil {
		return nil, err
	}
	if err := app.Command(r.Context(), c.cfg, o.Target, &control.Pause{Target: o.Target, Paused: true, Origin: origin}, c.o.Logger); err != nil {
		return nil, err
	}
	c.audit(r, "pause", o)
	return struct{}{}, nil
}

func (c *Console) resume(r *http.Request) (any, error) {
	o, origin, err := read(r)
	if err != nil {
		return nil, err
	}
	if err := app.Command(r.Context(), c.cfg, o.Target, &control.Pause{Target: o.Target, Origin: origin}, c.o.Logger); err != nil {
		return nil, err
	}
	if o.AcceptDeadLetters {
		err := app.Command(r.Context(), c.cfg, o.Target, &control.Accept{Target: o.Target, UpTo: origin.Time, Origin: origin}, c.o.Logger)
		if err != nil {
			return nil, err
		}
	}
	c.audit(r, "resume", o, "accept_dead_letters", o.AcceptDeadLetters)
	return struct{}{}, nil
}

// replay commands one, or says with dry_run what it would be.
func (c *Console) replay(r *http.Request) (any, error) {
	o, origin, err := read(r)
	if err != nil {
		return nil, err
	}
	if o.From == "" {
		return nil, &app.RequestError{Err: errors.New("want from: earliest, a date or time, or TOPIC/PARTITION:OFFSET,…")}
	}
	replay, err := app.NewReplay(r.Context(), c.cfg, c.adm, app.ReplayRequest{
		Target: o.Target, From: o.From, To: o.To, Every: o.Every, AllowOldVersions: o.AllowOldVersions,
	})
	if err != nil {
		return nil, err
	}
	if o.DryRun {
		counts, err := app.CountReplay(r.Context(), c.adm, replay, func() (*app.Previewer, error) { return c.preview(r.Context()) }, func(int64, int64) {})
		return map[string]any{"target": o.Target, "every": o.Every, "partitions": counts}, err
	}
	replay.ID, replay.Origin = app.NewCommandID(), origin
	if _, err := app.StartReplay(r.Context(), c.cfg, c.adm, replay); err != nil {
		return nil, err
	}
	c.audit(r, "replay", o, "command", replay.ID, "from", o.From)
	return replay, nil
}

// push commands the newest version of a policy to be sent again.
func (c *Console) push(r *http.Request) (any, error) {
	o, origin, err := read(r)
	if err != nil {
		return nil, err
	}
	if o.Key == nil {
		return nil, &app.RequestError{Err: errors.New("want the key of a policy")}
	}
	previewer, err := c.preview(r.Context())
	if err != nil {
		return nil, err
	}
	p, err := previewer.NewPush(r.Context(), o.Target, *o.Key, func(int64, int64) {})
	if err != nil {
		return nil, err
	}
	p.Origin = origin
	if err := app.Command(r.Context(), c.cfg, o.Target, p, c.o.Logger); err != nil {
		return nil, err
	}
	c.audit(r, "push", o, "command", p.ID, "key", *o.Key)
	return app.PushStatus{ID: p.ID, Push: p}, nil
}

// cancel takes a replay, redrive or push away.
func (c *Console) cancel(r *http.Request) (any, error) {
	o, origin, err := read(r)
	if err != nil {
		return nil, err
	}
	cancelled, err := app.CancelCommand(r.Context(), c.cfg, o.ID, origin, c.o.Logger)
	if err != nil {
		return nil, err
	}
	c.audit(r, "cancel", o, "command", o.ID)
	return map[string]any{"old_versions": cancelled.OldVersions}, nil
}

// redrive commands dead letters to be sent again, or says with dry_run which would be.
func (c *Console) redrive(r *http.Request) (any, error) {
	o, origin, err := read(r)
	if err != nil {
		return nil, err
	}
	if len(o.IDs) == 0 && o.Filter.All() {
		return nil, &app.RequestError{Err: errors.New("want ids of dead letters, or a filter")}
	}
	l, err := app.OpenLetters(c.cfg, c.o.Logger)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	redrives, problems, err := l.NewRedrives(r.Context(), app.RedriveRequest{
		Filter: o.Filter, Origin: origin, AllowOldVersions: o.AllowOldVersions,
	})
	if err == nil && !o.DryRun && len(redrives) > 0 {
		if err = l.StartRedrives(r.Context(), redrives); err == nil {
			c.audit(r, "redrive", o, "commands", len(redrives))
		}
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"redrives": redrives, "problems": len(problems)}, nil
}

// discard resolves dead letters without a delivery.
func (c *Console) discard(r *http.Request) (any, error) {
	o, origin, err := read(r)
	switch {
	case err != nil:
		return nil, err
	case len(o.IDs) == 0:
		return nil, &app.RequestError{Err: errors.New("want ids of dead letters")}
	case o.Reason == "":
		return nil, &app.RequestError{Err: errors.New("want a reason, for those who ask later")}
	}
	l, err := app.OpenLetters(c.cfg, c.o.Logger)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	found := []string{}
	_, err = l.Unresolved(r.Context(), &deadletter.Filter{IDs: o.IDs}, func(s *app.StoredLetter) error {
		found = append(found, s.ID)
		return nil
	})
	if err == nil {
		err = l.Discard(r.Context(), found, origin)
	}
	if err != nil {
		return nil, err
	}
	c.audit(r, "discard", o, "letters", len(found))
	return map[string]any{"discarded": found}, nil
}
