package main

import (
	"bufio"
	"bytes"
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

// patience is how long the sink waits for the first event.
const patience = 20 * time.Second

// stats are what one target counted since the last reset.
type stats struct {
	Count int `json:"count"`
	// OutOfOrder counts versions below one that came before, Repeats the same again.
	OutOfOrder int           `json:"out_of_order"`
	Repeats    int           `json:"repeats"`
	Took       time.Duration `json:"took"`
	first      time.Time
	last       map[string]int // version by key
}

// sink is the server that everybody posts to: POST /v1/TARGET. It runs in a process
// of its own, so that no client shares a scheduler with it.
type sink struct {
	mu      sync.Mutex
	latency time.Duration
	want    int // events of each target
	targets map[string]*stats
	begun   chan struct{} // closed by the first event
	full    chan struct{} // closed when each target has what it wants
	missing int           // targets that have not
}

func serveSink() error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	s := &sink{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/{target}", s.take)
	mux.HandleFunc("GET /reset", s.reset)
	mux.HandleFunc("GET /wait", s.wait)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	return server.Serve(l)
}

func (s *sink) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	key := between(body, `"policyId":"`, `"`)
	version, err := strconv.Atoi(between(body, `"version":`, ",}"))
	if key == "" || err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if latency := s.count(r.PathValue("target"), key, version); latency > 0 {
		<-time.After(latency)
	}
	w.WriteHeader(http.StatusNoContent)
}

// between returns the text after a mark up to one of the characters of end.
func between(b []byte, mark, end string) string {
	_, rest, _ := bytes.Cut(b, []byte(mark))
	return string(rest[:max(0, bytes.IndexAny(rest, end))])
}

func (s *sink) count(target, key string, version int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.targets[target]
	if t == nil { // of a run that is over
		return 0
	}
	now := time.Now()
	if t.Count == 0 {
		t.first = now
		select {
		case <-s.begun:
		default:
			close(s.begun)
		}
	}
	switch last := t.last[key]; {
	case version == last:
		t.Repeats++
		return s.latency
	case version < last:
		t.OutOfOrder++
	default:
		t.last[key] = version
	}
	t.Count++
	t.Took = now.Sub(t.first)
	if t.Count == s.want {
		if s.missing--; s.missing == 0 {
			close(s.full)
		}
	}
	return s.latency
}

func (s *sink) reset(_ http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency, _ = time.ParseDuration(r.FormValue("latency")) // written by this program
	s.want, _ = strconv.Atoi(r.FormValue("want"))
	s.begun, s.full, s.targets = make(chan struct{}), make(chan struct{}), map[string]*stats{}
	for target := range strings.SplitSeq(r.FormValue("targets"), ",") {
		s.targets[target] = &stats{last: map[string]int{}}
	}
	s.missing = len(s.targets)
}

// wait answers with the stats when all events are there, or when the limit has
// passed since the first.
func (s *sink) wait(w http.ResponseWriter, r *http.Request) {
	limit, _ := time.ParseDuration(r.FormValue("limit")) // written by this program
	s.mu.Lock()
	begun, full := s.begun, s.full
	s.mu.Unlock()
	select {
	case <-begun:
	case <-time.After(patience):
	}
	select {
	case <-full:
	case <-time.After(limit):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := json.NewEncoder(w).Encode(s.targets); err != nil {
		fmt.Fprintln(os.Stderr, "sink:", err)
	}
}

// startSink runs the sink as a process and returns its URL and how to stop it.
func startSink(ctx context.Context) (url string, stop func(), err error) {
	c := exec.CommandContext(ctx, os.Args[0], "sink") //nolint:gosec // this program
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := c.Start(); err != nil {
		return "", nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(line), func() {
		_ = c.Process.Kill() // it holds nothing
		_ = c.Wait()
	}, err
}
