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

// Server serves one handler at one address.
type Server struct {
	name   string
	listen string
	tls    *TLS
	log    *slog.Logger
	http   *http.Server
	served sync.WaitGroup

	// mu guards listener, between Start and an Addr or Stop of another goroutine.
	mu       sync.Mutex
	listener net.Listener
}

// NewServer returns a server that does not listen yet. Name is what errors and logs
// call it. Listen is host:port, where port 0 takes a free one. A nil TLS is none.
func NewServer(name, listen string, t *TLS, h http.Handler, log *slog.Logger) *Server {
	stopping, stop := context.WithCancel(context.Background())
	s := &Server{name: name, listen: listen, tls: t, log: log, http: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), stoppingKey{}, stopping.Done())
		},
	}}
	s.http.RegisterOnShutdown(stop)
	return s
}

type stoppingKey struct{}

// Stopping is closed when the server is told to stop that answers the request of this
// context: what would go on for ever ends then.
func Stopping(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return c
}

// Start listens and returns; requests are answered until Stop. It is called once.
func (s *Server) Start(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("listen for %s: %w", s.name, err)
	}
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	serve := s.http.Serve
	if s.tls != nil {
		s.http.TLSConfig = s.tls.config()
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	s.served.Go(func() {
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.ErrorContext(ctx, "no longer served", "what", s.name, "err", err)
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
		err = fmt.Errorf("stop serving %s: %w", s.name, errors.Join(err, s.http.Close()))
	}
	s.served.Wait()
	return err
}
