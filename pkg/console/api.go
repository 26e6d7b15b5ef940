package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/hms-sme/policysync/pkg/admin"
	"github.com/hms-sme/policysync/pkg/app"
)

// routes is the admin API and the page.
func (c *Console) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", page())
	mux.HandleFunc("GET "+admin.SessionPath, c.session)
	mux.HandleFunc("GET /api/events", c.events)
	for path, f := range map[string]func(*http.Request) (any, error){
		"GET /api/status":   c.status,
		"GET /api/history":  c.history,
		"GET /api/policy":   c.policy,
		"GET /api/event":    c.event,
		"GET /api/target":   c.target,
		"GET /api/commands": c.commands,
		"GET /api/letters":  c.letters,
		"GET /api/letter":   c.letter,
		"POST /api/pause":   c.pause,
		"POST /api/resume":  c.resume,
		"POST /api/redrive": c.redrive,
		"POST /api/discard": c.discard,
		"POST /api/cancel":  c.cancel,
	} {
		mux.HandleFunc(path, answer(f))
	}
	mux.HandleFunc("POST /api/replay", patient(answer(c.replay)))
	mux.HandleFunc("POST /api/push", patient(answer(c.push)))
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) { admin.Refuse(w, http.StatusNotFound, "no such call") })
	return mux
}

// patient gives what reads topics the time that it needs.
func patient(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(10 * time.Minute)) // else the server's holds
		f(w, r)
	}
}

func answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			code := http.StatusBadGateway // of what is behind the console
			var request *app.RequestError
			var old *app.OldVersionsError
			switch {
			case errors.As(err, &request), errors.As(err, &old):
				code = http.StatusBadRequest
			case errors.Is(err, app.ErrNoTarget), errors.Is(err, app.ErrNoLetter), errors.Is(err, app.ErrNoPolicy), errors.Is(err, app.ErrNoCommand):
				code = http.StatusNotFound
			case errors.Is(err, app.ErrReceiptsOff):
				code = http.StatusConflict
			}
			admin.Refuse(w, code, err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/json")
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		_ = out.Encode(v) // whom it would tell is gone
	}
}

// session says who asks, and what the page must know to begin.
func (c *Console) session(w http.ResponseWriter, r *http.Request) {
	answer(func(r *http.Request) (any, error) {
		s := struct {
			admin.User
			// Login reports that a token would let somebody in.
			Login    bool   `json:"login"`
			Open     bool   `json:"open"`
			Group    string `json:"group,omitempty"`
			Version  string `json:"version,omitempty"`
			TraceURL string `json:"trace_url,omitempty"`
		}{User: admin.UserOf(r.Context()), Login: len(c.cfg.Admin.Tokens) > 0, Open: c.cfg.Admin.Open()}
		if s.Role != "" {
			s.Group, s.Version, s.TraceURL = c.cfg.Kafka.Group, c.o.Version, c.cfg.Telemetry.TraceURL
		}
		return s, nil
	})(w, r)
}

func (c *Console) status(*http.Request) (any, error) {
	s, _ := c.model.latest()
	return s, nil
}

func (c *Console) history(*http.Request) (any, error) { return c.model.past(), nil }

// events sends each snapshot as it comes (server-sent events), until the client goes.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	for {
		s, changed := c.model.latest()
		text, err := json.Marshal(s)
		if err == nil {
			err = out.SetWriteDeadline(time.Now().Add(10 * time.Second))
		}
		if err == nil {
			_, err = fmt.Fprintf(w, "data: %s\n\n", text)
		}
		if err == nil {
			err = out.Flush()
		}
		if err != nil {
			return // the client is gone
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-admin.Stopping(r.Context()):
			return
		}
	}
}

// policy is what is known of one policy, and its newest event.
func (c *Console) policy(r *http.Request) (any, error) {
	key := r.URL.Query().Get("key")
	if key == "" {
		return nil, &app.RequestError{Err: errors.New("want key=POLICY")}
	}
	p, err := c.preview(r.Context())
	if err != nil {
		return nil, err
	}
	return p.Timeline(r.Context(), key, c.o.Logger)
}

// event is one record, and what each target would be sent of it.
func (c *Console) event(r *http.Request) (any, error) {
	q := r.URL.Query()
	partition, err := strconv.ParseInt(q.Get("partition"), 10, 32)
	offset, err2 := strconv.ParseInt(q.Get("offset"), 10, 64)
	if err := errors.Join(err, err2); err != nil {
		return nil, &app.RequestError{Err: fmt.Errorf("want topic=T&partition=N&offset=N: %w", err)}
	}
	topic := q.Get("topic")
	if !c.reads(topic) {
		return nil, &app.RequestError{Err: fmt.Errorf("topic %q is not one of this group", topic)}
	}
	p, err := c.preview(r.Context())
	if err != nil {
		return nil, err
	}
	record, err := p.Stored(r.Context(), topic, int32(partition), offset)
	if err != nil {
		return nil, err
	}
	return p.View(r.Context(), record), nil
}

// reads reports whether a topic is a source: others hold what is nobody's to see here.
func (c *Console) reads(topic string) bool { return slices.Contains(c.cfg.Kafka.Topics, topic) }

// target is the config of one target as it stands in the file, without secrets.
func (c *Console) target(r *http.Request) (any, error) {
	name := r.URL.Query().Get("target")
	i, err := app.FindTarget(c.cfg, name)
	if err != nil {
		return nil, err
	}
	t := &c.cfg.Targets[i]
	return map[string]any{
		"target": name, "connector": t.Connector, "config": c.cfg.Section("targets." + name),
		"guard": app.ChecksVersions(t), "window": t.Window.Deliveries,
	}, nil
}

func (c *Console) commands(r *http.Request) (any, error) {
	return app.ReadCommands(r.Context(), c.cfg, c.o.Logger)
}
