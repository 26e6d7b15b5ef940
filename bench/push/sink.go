package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stats are what the sink counted since its last reset.
type stats struct {
	Count int           `json:"count"`
	Took  time.Duration `json:"took"`
}

// sink is the server that both clients post to. It runs in a process of its own,
// so that neither client shares a scheduler with it.
type sink struct {
	mu          sync.Mutex
	latency     time.Duration
	want        int
	count       int
	first, last time.Time
	full        chan struct{}
}

func serveSink() error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	s := &sink{full: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/rules", s.take)
	mux.HandleFunc("GET /reset", s.reset)
	mux.HandleFunc("GET /wait", func(http.ResponseWriter, *http.Request) { <-s.waits() })
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(stats{s.count, s.last.Sub(s.first)}) // the reader sees what is missing
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	return server.Serve(l)
}

func (s *sink) take(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // a cut body is still one event
	s.mu.Lock()
	now, latency := time.Now(), s.latency
	if s.count == 0 {
		s.first = now
	}
	s.count++
	s.last = now
	if s.count == s.want {
		close(s.full)
	}
	s.mu.Unlock()
	if latency > 0 {
		<-time.After(latency)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *sink) reset(_ http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency, _ = time.ParseDuration(r.FormValue("latency")) // written by this program
	s.want, _ = strconv.Atoi(r.FormValue("want"))
	s.count, s.full = 0, make(chan struct{})
}

func (s *sink) waits() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

// startSink runs the sink as a process and returns how to stop it.
func (b *bench) startSink(ctx context.Context) (stop func(), err error) {
	c := exec.CommandContext(ctx, os.Args[0], "sink") //nolint:gosec // this program
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	b.sink = strings.TrimSpace(line)
	return func() {
		_ = c.Process.Kill() // it holds nothing
		_ = c.Wait()
	}, err
}
