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
	"slices"
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
	OutOfOrder int `json:"out_of_order"`
	Repeats    int `json:"repeats"`
	// Newest counts the keys of which the newest version came.
	Newest int `json:"newest"`
	// Took is from the first event to the last, Pause the longest between two.
	Took  time.Duration `json:"took"`
	Pause time.Duration `json:"pause"`
	// Latency is from the making of an event until it came, at P50, P99 and P99.9.
	Latency     [3]time.Duration `json:"latency"`
	first, last time.Time
	versions    map[string]int // by key
	latencies   []time.Duration
}

// sink is the server that everybody posts to: POST /v1/TARGET. It runs in a process
// of its own, so that no client shares a scheduler with it.
type sink struct {
	server  *http.Server
	spare   string // where nobody listens until /open
	opened  net.Listener
	mu      sync.Mutex
	latency time.Duration
	want    int // events of each target
	newest  int // version of each key
	since   time.Time
	targets map[string]*stats
	faults  map[string]string // 503 or hangs, by target
	begun   chan struct{}     // closed by the first event
	full    chan struct{}     // closed when each target has what it wants
	missing int               // targets that have not
}

func serveSink() error {
	l, err := listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	spare, err := listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &sink{spare: spare.Addr().String()}
	if err := spare.Close(); err != nil {
		return err
	}
	fmt.Println("http://"+l.Addr().String(), "http://"+s.spare)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/{target}", s.take)
	for path, f := range map[string]http.HandlerFunc{
		"/reset": s.reset, "/mark": s.mark, "/begun": s.awaitBegun, "/wait": s.wait, "/stats": s.tell, "/open": s.open,
	} {
		mux.HandleFunc("GET "+path, f)
	}
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	return s.server.Serve(l)
}

func listen(address string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
}

func (s *sink) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	target, key := r.PathValue("target"), between(body, `"policyId":"`, `"`)
	version, err := strconv.Atoi(between(body, `"version":`, ",}"))
	made, _ := strconv.ParseInt(between(body, `"eventId":"`, `-"`), 10, 64) // 0 without one
	if key == "" || err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	latency, fault := s.count(target, key, version, time.Unix(0, made))
	switch fault {
	case "503":
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case "hangs":
		<-r.Context().Done()
		return
	}
	if latency > 0 {
		<-time.After(latency)
	}
	w.WriteHeader(http.StatusNoContent)
}

// between returns the text after a mark up to one of the characters of end.
func between(b []byte, mark, end string) string {
	_, rest, _ := bytes.Cut(b, []byte(mark))
	return string(rest[:max(0, bytes.IndexAny(rest, end))])
}

// count notes what came, and says how long an answer is to take and what is wrong
// with the target.
func (s *sink) count(target, key string, version int, made time.Time) (latency time.Duration, fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.targets[target]
	if fault = s.faults[target]; t == nil || fault != "" { // nil: of a run that is over
		return 0, fault
	}
	now := time.Now()
	if t.Count == 0 {
		t.first, t.last = now, now
		select {
		case <-s.begun:
		default:
			close(s.begun)
		}
	}
	if t.Pause = max(t.Pause, now.Sub(t.last)); made.After(s.since) {
		t.latencies = append(t.latencies, now.Sub(made))
	}
	t.last, t.Took = now, now.Sub(t.first)
	switch last := t.versions[key]; {
	case version == last:
		t.Repeats++
		return s.latency, ""
	case version < last:
		t.OutOfOrder++
	default:
		t.versions[key] = version
	}
	if version == s.newest {
		t.Newest++
	}
	if t.Count++; t.Count == s.want {
		if s.missing--; s.missing == 0 {
			close(s.full)
		}
	}
	return s.latency, ""
}

func (s *sink) reset(_ http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened != nil {
		_ = s.opened.Close()
		s.opened = nil
	}
	s.latency, _ = time.ParseDuration(r.FormValue("latency")) // written by this program
	s.want, _ = strconv.Atoi(r.FormValue("want"))
	s.newest, _ = strconv.Atoi(r.FormValue("newest"))
	s.begun, s.full, s.targets, s.faults = make(chan struct{}), make(chan struct{}), map[string]*stats{}, map[string]string{}
	for target := range strings.SplitSeq(r.FormValue("targets"), ",") {
		s.targets[target] = &stats{versions: map[string]int{}}
	}
	if down := r.FormValue("fault"); down != "" {
		s.faults[downTarget] = down
	}
	s.missing, s.since = len(s.targets), time.Now().Add(time.Hour)
}

// mark begins the measuring: of latencies those of events that are made from now on.
func (s *sink) mark(http.ResponseWriter, *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = time.Now()
	for _, t := range s.targets {
		t.latencies, t.Latency, t.Pause = nil, [3]time.Duration{}, 0
	}
}

// open heals the target that refuses connections, until the next reset.
func (s *sink) open(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := listen(s.spare)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.targets[downTarget], s.opened = &stats{versions: map[string]int{}}, l
	go func() { _ = s.server.Serve(l) }()
}

func (s *sink) awaitBegun(http.ResponseWriter, *http.Request) {
	s.mu.Lock()
	begun := s.begun
	s.mu.Unlock()
	select {
	case <-begun:
	case <-time.After(patience):
	}
}

// wait answers with the stats when all events are there, or when the limit has
// passed since the first.
func (s *sink) wait(w http.ResponseWriter, r *http.Request) {
	limit, _ := time.ParseDuration(r.FormValue("limit")) // written by this program
	s.awaitBegun(w, r)
	s.mu.Lock()
	full := s.full
	s.mu.Unlock()
	select {
	case <-full:
	case <-time.After(limit):
	}
	s.tell(w, r)
}

func (s *sink) tell(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.targets {
		if n := len(t.latencies); n > 0 {
			slices.Sort(t.latencies)
			t.Latency = [3]time.Duration{t.latencies[n/2], t.latencies[n*99/100], t.latencies[n*999/1000]}
		}
	}
	if err := json.NewEncoder(w).Encode(s.targets); err != nil {
		fmt.Fprintln(os.Stderr, "sink:", err)
	}
}

// server is the sink as its own process: where it listens, and where it does once it
// was opened.
type server struct {
	url, spare string
	cmd        *exec.Cmd
}

func startSink(ctx context.Context) (*server, error) {
	s := &server{cmd: exec.CommandContext(ctx, os.Args[0], "sink")} //nolint:gosec // this program
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	s.url, s.spare, _ = strings.Cut(strings.TrimSpace(line), " ")
	return s, err
}

func (s *server) stop() {
	_ = s.cmd.Process.Kill() // it holds nothing
	_ = s.cmd.Wait()
}

// ask makes a request and returns the targets' stats, if the answer has any.
func (s *server) ask(ctx context.Context, path string) (map[string]*stats, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Timeout: time.Hour}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("sink: %s: %s", path, text)
	}
	if err != nil || len(text) == 0 {
		return nil, err
	}
	targets := map[string]*stats{}
	return targets, json.Unmarshal(text, &targets)
}
