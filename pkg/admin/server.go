// Package admin serves what an operator and the platform ask a running process:
// whether it lives, whether it is ready, and its metrics. It decides none of these;
// each answer is a function that it is given.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Config is the `health` section.
type Config struct {
	// Listen is the address, host:port; port 0 takes a free one.
	Listen string `yaml:"listen" default:":8080"`
}

// Checks are the answers. A nil error means yes; another is the body of a 503, so
// it must hold no secret.
type Checks struct {
	// Live tells whether the process makes progress. If it does not, the platform
	// restarts it: an outage of Kafka or of a target is no reason.
	Live func() error
	// Ready tells whether the process does its part.
	Ready func() error
	// Metrics serves the metrics.
	Metrics http.Handler
}

// Server answers /livez, /readyz and /metrics.
type Server struct {
	config Config
	log    *slog.Logger
	http   *http.Server
	served sync.WaitGroup

	// mu guards listener, between Start and an Addr or Stop of another goroutine.
	mu       sync.Mutex
	listener net.Listener
}

// New returns a server that does not listen yet.
func New(c Config, checks Checks, log *slog.Logger) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", answer(checks.Live))
	mux.Handle("GET /readyz", answer(checks.Ready))
	mux.Handle("GET /metrics", checks.Metrics)
	return &Server{config: c, log: log, http: &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}
}

// Start listens and returns; requests are answered until Stop. It is called once.
func (s *Server) Start(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.config.Listen)
	if err != nil {
		return fmt.Errorf("listen for health: %w", err)
	}
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	s.served.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.ErrorContext(ctx, "health is no longer served", "err", err)
		}
	})
	return nil
}

// Addr is the address that the server listens on, empty before Start.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Stop ends the listening, waits for requests under way until ctx ends, and cuts
// off the rest. It may be called again, and before Start.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("stop health server: %w", errors.Join(err, s.http.Close()))
	}
	s.served.Wait()
	return err
}

func answer(check func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if err := check(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintln(w, "ok")
	})
}
