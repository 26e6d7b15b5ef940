//go:build e2e

// Package e2e proves policysync on real servers: the binary as an operator runs it,
// a real Kafka and registry, and external systems that are asked what they hold.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/demo"
)

// bin is where TestMain built the binaries.
var bin string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "policysync-e2e-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	bin = dir
	c := exec.Command("go", "build", "-o", dir+"/", "github.com/hms-sme/policysync/cmd/policysync", "github.com/hms-sme/policysync/e2e/sabotage")
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		panic(err)
	}
	return m.Run()
}

// world is one test's corner of the real servers: its own topic and group, and a
// scheduling API that keeps book.
type world struct {
	t     *testing.T
	topic string
	api   *demo.Scheduler
	url   string
	kafka *kgo.Client
	// broker and registry are where the members find them.
	broker, registry string
	adm              *kadm.Client
	file             string
	enc              *encoders
	// session and drain are the members' timeouts, in the config.
	session, drain time.Duration
}

// patient makes room for attempts of 10 s: where nothing may come twice, a machine that
// stands still must not end an attempt that the target has applied.
func (w *world) patient() { w.session, w.drain = 20*time.Second, 10*time.Second }

// address is a server's, from what e2e/servers/all.sh printed.
func address(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv("POLICYSYNC_E2E_" + name)
	require.NotEmpty(t, v, "run it by `make e2e`")
	return v
}

func newWorld(t *testing.T, partitions int32) *world {
	t.Helper()
	w := &world{
		t: t, topic: fmt.Sprintf("e2e-%d", time.Now().UnixNano()), api: demo.NewScheduler(),
		broker: address(t, "KAFKA"), registry: address(t, "REGISTRY"), session: sessionTimeout, drain: 4 * time.Second,
	}
	server := httptest.NewServer(w.api)
	t.Cleanup(server.Close)
	w.url = server.URL
	var err error
	w.kafka, err = kgo.NewClient(kgo.SeedBrokers(address(t, "KAFKA")), kgo.DefaultProduceTopic(w.topic))
	require.NoError(t, err)
	t.Cleanup(w.kafka.Close)
	w.adm = kadm.NewClient(w.kafka)
	_, err = w.adm.CreateTopic(t.Context(), partitions, 1, nil, w.topic)
	require.NoError(t, err)
	w.enc = newEncoders(t, w.topic)
	return w
}

// configure writes the config: the head that all tests share, and the targets.
func (w *world) configure(targets string) {
	w.t.Helper()
	text := strings.NewReplacer("@topic", w.topic, "@kafka", w.broker, "@registry", w.registry,
		"@api", w.url, "@id", w.id(), "@session", w.session.String(), "@drain", w.drain.String()).Replace(`
kafka: {brokers: ["@kafka"], group: "@topic", topics: ["@topic"], group_protocol: "${PROTOCOL:classic}", instance_id: "${INSTANCE:}", session_timeout: @session}
schemas: {registry: {url: "@registry"}}
dead_letters: {topic: "@topic-letters"}
health: {listen: "${HEALTH:127.0.0.1:0}"}
drain_timeout: @drain
targets:
` + targets)
	w.file = filepath.Join(w.t.TempDir(), "policysync.yaml")
	require.NoError(w.t, os.WriteFile(w.file, []byte(text), 0o600))
	w.policysync("topics", "create", "-c", w.file)
}

// policysync runs a command that ends by itself and returns what it printed.
func (w *world) policysync(args ...string) string {
	w.t.Helper()
	out, err := exec.CommandContext(w.t.Context(), filepath.Join(bin, "policysync"), args...).CombinedOutput()
	require.NoError(w.t, err, "%s", out)
	return string(out)
}

// member is a running process.
type member struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan error
	log  *tail
}

// start starts a member, with the given variables.
func (w *world) start(env ...string) *member {
	return w.startProgram("policysync", []string{"run"}, env)
}

func (w *world) startProgram(program string, args, env []string) *member {
	w.t.Helper()
	m := &member{t: w.t, done: make(chan error, 1), log: &tail{}}
	m.cmd = exec.Command(filepath.Join(bin, program), append(args, "-c", w.file)...)
	m.cmd.Env = append(os.Environ(), env...)
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	require.NoError(w.t, m.cmd.Start())
	go func() { m.done <- m.cmd.Wait() }()
	w.t.Cleanup(func() {
		_ = m.cmd.Process.Kill()
		if w.t.Failed() {
			w.t.Logf("log of a member:\n%s", m.log)
		}
	})
	return m
}

// kill is kill -9.
func (m *member) kill() {
	m.t.Helper()
	require.NoError(m.t, m.cmd.Process.Kill())
	<-m.done
}

// stop is SIGTERM, and wants exit code 0.
func (m *member) stop() {
	m.t.Helper()
	require.NoError(m.t, m.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-m.done:
		require.NoError(m.t, err)
	case <-time.After(30 * time.Second):
		require.Fail(m.t, "the member does not stop")
	}
}

// assigned is how often the member was given a partition.
func (m *member) assigned() int { return strings.Count(m.log.String(), "partition assigned") }

// tail keeps the end of a log.
type tail struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	count int // of all lines
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count += bytes.Count(p, []byte{'\n'})
	if l.buf.Len() > 64<<10 {
		l.buf.Next(32 << 10)
	}
	return l.buf.Write(p)
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *tail) lines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// members is how many members the group counts, by the broker's word.
func (w *world) members() int {
	w.t.Helper()
	groups, err := w.adm.DescribeGroups(w.t.Context(), w.topic)
	require.NoError(w.t, err)
	newer, err := w.adm.DescribeConsumerGroups(w.t.Context(), w.topic) // of KIP-848
	require.NoError(w.t, err)
	return len(groups[w.topic].Members) + len(newer[w.topic].Members)
}

// status is what `policysync status --json` says; nothing if the broker is not up yet.
func (w *world) status() (s app.Status) {
	out, err := exec.CommandContext(w.t.Context(), filepath.Join(bin, "policysync"), "status", "-c", w.file, "--json").Output()
	if err != nil || json.Unmarshal(out, &s) != nil {
		return app.Status{}
	}
	return s
}

// settles waits until no target lags.
func (w *world) settles(limit time.Duration) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		targets := w.status().Targets
		for _, t := range targets {
			if t.Lag > 0 || len(t.Lanes) == 0 || t.Lanes[0].Next < 0 {
				return false
			}
		}
		return len(targets) > 0
	}, limit, 500*time.Millisecond, "a target still lags")
}

// eventually waits for a condition of the external systems.
func (w *world) eventually(what string, limit time.Duration, f func() bool) {
	w.t.Helper()
	require.Eventually(w.t, f, limit, 20*time.Millisecond, what)
}

// letters reads the dead-letter topic to its end.
func (w *world) letters() []*kgo.Record { return w.all(w.topic + "-letters") }

// all reads a topic to its end.
func (w *world) all(topic string) []*kgo.Record {
	w.t.Helper()
	ends, err := w.adm.ListEndOffsets(w.t.Context(), topic)
	require.NoError(w.t, err)
	left := map[int32]int64{} // of the partitions that are not read to their end
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	c, err := kgo.NewClient(kgo.SeedBrokers(address(w.t, "KAFKA")), kgo.ConsumeTopics(topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(w.t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	var got []*kgo.Record
	for len(left) > 0 {
		fetches := c.PollFetches(ctx)
		require.NoError(w.t, fetches.Err())
		for _, r := range fetches.Records() {
			got = append(got, r)
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		}
	}
	return got
}

// header is a record's header as text.
func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// id is the topic's name as part of an identifier.
func (w *world) id() string { return strings.ReplaceAll(w.topic, "-", "_") }

// cpu is the CPU time that the member has spent.
func (m *member) cpu() time.Duration {
	m.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.cmd.Process.Pid))
	require.NoError(m.t, err)
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	user, err := strconv.Atoi(fields[11])
	require.NoError(m.t, err)
	system, err := strconv.Atoi(fields[12])
	require.NoError(m.t, err)
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}
