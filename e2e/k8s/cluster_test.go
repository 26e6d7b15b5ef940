//go:build e2e

package k8s

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	namespace = "policies"
	release   = "sync"
	fullname  = "sync-policysync"
	// patience bounds each command and wait; the machine also runs the cluster.
	patience = 4 * time.Minute
)

// run runs a command that must succeed and returns what it printed.
func (w *world) run(name string, args ...string) string {
	w.t.Helper()
	out, err := w.try(name, args...)
	require.NoError(w.t, err, "%s %s\n%s", name, strings.Join(args, " "), out)
	return out
}

func (w *world) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

func (w *world) helm(args ...string) string {
	w.t.Helper()
	return w.run("helm", append([]string{"-n", namespace}, args...)...)
}

func (w *world) kubectl(args ...string) string {
	w.t.Helper()
	return w.run("kubectl", append([]string{"-n", namespace}, args...)...)
}

// values are what a step of the test changes of a release.
type values struct {
	tag         string
	replicas    int
	interval    string // checkpoint.interval, which no step depends on
	archive     bool   // a third target, which begins with the oldest event
	leaveGroup  bool
	podRestarts string // another text means other pods
}

// deploy installs or upgrades the release and waits until all pods are ready.
func (w *world) deploy(v values) {
	w.t.Helper()
	w.helm("upgrade", "--install", release, os.Getenv("POLICYSYNC_LIVE_CHART"), "-f", w.file(v), "--wait", "--timeout", patience.String())
}

// file writes the values file. JSON is YAML too.
func (w *world) file(v values) string {
	w.t.Helper()
	archive := ""
	if v.archive {
		archive = strings.NewReplacer("NAME", "archive", "concurrency: 8", "concurrency: 8\n    start: earliest").Replace(target)
	}
	text, err := json.Marshal(map[string]any{
		"image": map[string]any{"repository": "localhost/policysync", "tag": v.tag, "pullPolicy": "Never"},
		"config": strings.NewReplacer("KAFKA", w.broker, "INTERVAL", v.interval, "URL", w.url).Replace(
			config + strings.ReplaceAll(target, "NAME", "api") + strings.ReplaceAll(target, "NAME", "partner") + archive),
		"files":      map[string]string{"policy_event.avsc": w.schema},
		"replicas":   v.replicas,
		"partitions": partitions, "leaveGroup": v.leaveGroup,
		"resources":      map[string]any{"requests": map[string]any{"cpu": "20m", "memory": "64Mi"}, "limits": map[string]any{"memory": "512Mi"}},
		"podAnnotations": map[string]string{"example.com/restarted": v.podRestarts},
		"test":           map[string]any{"topic": topic, "timeout": 120, "events": `{"key": "TEST-1", "value": ` + policy("TEST-1", 1) + `}`},
	})
	require.NoError(w.t, err)
	file := filepath.Join(w.t.TempDir(), "values.yaml")
	require.NoError(w.t, os.WriteFile(file, text, 0o600))
	return file
}

const config = `
kafka: {brokers: ["KAFKA"], group: policysync, topics: [policy-events], instance_id: "${POD_NAME}"}
schemas: {file: /etc/policysync/policy_event.avsc, format: single-object}
checkpoint: {interval: INTERVAL}
drain_timeout: 10s
targets:
`

const target = `
  NAME:
    connector: http
    url: "URL/NAME"
    delete: ignore
    map: {title: event.payload.name}
    timeout: 5s
    concurrency: 8
`

// pod is what the watch saw of one pod of a member.
type pod struct {
	name     string
	ready    bool
	restarts int
	// asked is when it was told to stop, grace how long it may take; ended is when it
	// had, with which code. Kubernetes gives these times in whole seconds.
	asked, ended time.Time
	grace        time.Duration
	code         int
}

// pods follows the members' pods, by their ids.
type pods struct {
	mu  sync.Mutex
	all map[string]*pod
}

// watch begins to follow and does so until the test ends.
func (w *world) watch() {
	w.t.Helper()
	c := exec.CommandContext(w.t.Context(), "kubectl", "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/component=member", "--watch", "-o", "json")
	out, err := c.StdoutPipe()
	require.NoError(w.t, err)
	require.NoError(w.t, c.Start())
	w.pods.all = map[string]*pod{}
	done := make(chan error, 1)
	go func() { done <- w.pods.follow(json.NewDecoder(out)) }()
	w.t.Cleanup(func() {
		_ = c.Process.Kill()
		<-done
		_ = c.Wait() // killed
	})
}

func (p *pods) follow(events *json.Decoder) error {
	for {
		var seen struct {
			Metadata struct {
				Name, UID                  string
				DeletionTimestamp          *time.Time
				DeletionGracePeriodSeconds int
			}
			Status struct {
				ContainerStatuses []struct {
					Ready        bool
					RestartCount int
					State        struct {
						Terminated *struct {
							ExitCode   int
							FinishedAt time.Time
						}
					}
				}
			}
		}
		if err := events.Decode(&seen); err != nil {
			return err
		}
		p.mu.Lock()
		one := p.all[seen.Metadata.UID]
		if one == nil {
			one = &pod{name: seen.Metadata.Name}
			p.all[seen.Metadata.UID] = one
		}
		if at := seen.Metadata.DeletionTimestamp; at != nil && one.asked.IsZero() {
			one.grace = time.Duration(seen.Metadata.DeletionGracePeriodSeconds) * time.Second
			one.asked = at.Add(-one.grace)
		}
		for _, c := range seen.Status.ContainerStatuses {
			one.ready, one.restarts = c.Ready, c.RestartCount
			if end := c.State.Terminated; end != nil {
				one.ended, one.code = end.FinishedAt, end.ExitCode
			}
		}
		p.mu.Unlock()
	}
}

// stopped are the pods that were told to stop since a time and have.
func (p *pods) stopped(since time.Time) (all []pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.all {
		if !one.ended.IsZero() && !one.asked.IsZero() && !one.asked.Before(since.Truncate(time.Second)) {
			all = append(all, *one)
		}
	}
	return all
}

// orderly returns an error unless each pod that stopped since then did so by itself,
// within its grace period and with success, and none was restarted.
func (p *pods) orderly(since time.Time) (longest time.Duration, err error) {
	for _, one := range p.stopped(since) {
		took := one.ended.Sub(one.asked)
		longest = max(longest, took)
		if one.code != 0 || took >= one.grace {
			err = errors.Join(err, errors.New(one.name+" was stopped with code "+string(rune('0'+one.code%10))+" after "+took.String()))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.all {
		if one.restarts > 0 {
			err = errors.Join(err, errors.New(one.name+" was restarted"))
		}
	}
	return longest, err
}
