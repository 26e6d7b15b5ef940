//go:build e2e

package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// member is a place in the group: one process after another runs there.
type member struct {
	t      *testing.T
	name   string
	binary string
	dir    string
	env    []string
	config string // file; a change takes effect with the next process

	cmd     *exec.Cmd
	done    chan struct{} // closed when the process has ended
	err     error         // how it did
	busy    chan struct{} // see free
	started int
}

// start starts a process, whose name the targets see in each request.
func (m *member) start() {
	m.t.Helper()
	m.started++
	process := fmt.Sprintf("%s.%d", m.name, m.started)
	log, err := os.Create(filepath.Join(m.dir, process+".log"))
	require.NoError(m.t, err)
	m.cmd = exec.Command(m.binary, "run", "-c", m.config, "--log-format", "json")
	m.cmd.Env = append(append(os.Environ(), m.env...), "MEMBER="+process)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	require.NoError(m.t, m.cmd.Start())
	cmd, done := m.cmd, make(chan struct{})
	m.done = done
	go func() {
		m.err = cmd.Wait()
		log.Close()
		close(done)
	}()
}

func (m *member) process() string { return fmt.Sprintf("%s.%d", m.name, m.started) }

func (m *member) signal(s syscall.Signal) {
	m.t.Helper()
	require.NoError(m.t, m.cmd.Process.Signal(s), "%s", m.process())
}

// kill is kill -9, and waits for the end.
func (m *member) kill() {
	m.signal(syscall.SIGKILL)
	<-m.done
}

// term is SIGTERM, and waits for the end; it wants exit code 0. A process that has not
// said anything yet may not listen to signals yet.
func (m *member) term() {
	m.t.Helper()
	require.Eventually(m.t, func() bool {
		log, err := os.Stat(filepath.Join(m.dir, m.process()+".log"))
		return err == nil && log.Size() > 0
	}, patience, 10*time.Millisecond, "%s says nothing", m.process())
	m.signal(syscall.SIGTERM)
	select {
	case <-m.done:
		require.NoError(m.t, m.err, "%s", m.process())
	case <-time.After(patience):
		require.Fail(m.t, "a member does not stop", "%s", m.process())
	}
}

// patience is how long a member may take to stop when Kafka is out of its reach.
const patience = 2 * time.Minute

// afterwards does f once the process has ended, which may last until a link is whole
// again. Until then the member is not free.
func (m *member) afterwards(f func()) {
	m.busy = make(chan struct{})
	go func() {
		defer close(m.busy)
		select {
		case <-m.done:
			f()
		case <-time.After(patience):
			m.t.Errorf("%s does not stop", m.process())
		}
	}()
}

// free reports whether nothing is left to be done afterwards.
func (m *member) free() bool {
	select {
	case <-m.busy:
		return true
	default:
		return m.busy == nil
	}
}

// close ends what runs, when the test ends.
func (m *member) close() {
	if m.busy != nil {
		<-m.busy
	}
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		<-m.done
	}
}
