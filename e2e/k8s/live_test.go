//go:build e2e

package k8s

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The life of one release, under load. Each step needs the one before it.
func TestLife(t *testing.T) {
	w := newWorld(t)
	now := values{tag: "now", replicas: 3, interval: "200ms"}
	step := func(name string, f func(w *world)) {
		if !t.Run(name, func(t *testing.T) { w.t = t; f(w) }) {
			t.FailNow()
		}
	}

	step("install", func(w *world) {
		w.under("install, three pods", func() {
			w.deploy(now)
			w.owned(3, partitions)
		})
	})
	step("helm test", func(w *world) {
		out := w.helm("test", release, "--logs", "--timeout", patience.String())
		require.Regexp(w.t, `TEST-1 +policy-events/\d+/\d+ +api +delivered\n`, out)
		require.Regexp(w.t, `TEST-1 +policy-events/\d+/\d+ +partner +delivered\n`, out)
		require.Equal(w.t, 1, w.sinks["api"].tests())
	})
	step("rolling upgrade", func(w *world) {
		repeats, moves := w.under("rolling upgrade, another config", func() {
			now.interval = "300ms"
			w.deploy(now)
		})
		require.Zero(w.t, repeats)
		require.LessOrEqual(w.t, moves, 1)
	})
	step("drain", func(w *world) {
		// Attempts take 3 s: what is in flight at SIGTERM ends, nothing is pushed twice.
		w.sinks["partner"].answerAfter(3 * time.Second)
		repeats, _ := w.under("a pod is stopped, pushes take 3 s", func() {
			w.kubectl("delete", "pod", fullname+"-1", "--wait")
			w.rolledOut()
			w.sinks["partner"].answerAfter(5 * time.Millisecond)
		})
		require.Zero(w.t, repeats)
	})
	step("scale", func(w *world) {
		for _, leave := range []bool{false, true} {
			now.leaveGroup, now.replicas = leave, 3
			w.deploy(now)
			for _, to := range []int{1, 3} {
				w.under(fmt.Sprintf("scale %d to %d, leaveGroup: %t", now.replicas, to, leave), func() {
					now.replicas = to
					w.deploy(now)
					w.owned(to, partitions)
				})
			}
		}
		now.leaveGroup = false
		w.deploy(now)
	})
	step("partitions", func(w *world) {
		w.under("8 to 16 partitions", func() {
			_, err := w.adm.CreatePartitions(w.t.Context(), partitions, topic)
			require.NoError(w.t, err)
			w.owned(3, 2*partitions)
		})
	})
	step("config and back", func(w *world) {
		w.under("upgrade: a target more, from the oldest event", func() {
			more := now
			more.archive = true
			w.deploy(more)
		})
		published, _ := w.stream.snapshot()
		w.eventually("the new target has all there ever was", func() bool { c, _ := w.sinks["archive"].snapshot(); return c.arrived == published })
		w.under("rollback: without it", func() { w.rollback() })
	})
	step("checkpoint format and back", func(w *world) {
		w.under("upgrade: another checkpoint format", func() {
			next := now
			next.tag = "next"
			w.deploy(next)
		})
		w.under("rollback: the format before", func() { w.rollback() })
	})
	step("node drain", func(w *world) {
		w.under("the node is emptied, and back", func() {
			out, err := w.try("kubectl", "drain", "node-0", "--pod-selector", "app.kubernetes.io/component=member", "--timeout", "20s")
			require.Error(w.t, err, "%s", out)
			require.Contains(w.t, out, "would violate the pod's disruption budget")
			w.owned(2, 2*partitions)
			w.run("kubectl", "uncordon", "node-0")
			w.rolledOut()
			w.owned(3, 2*partitions)
		})
	})
	step("uninstall", func(w *world) {
		before := w.sinks["api"].tests()
		w.helm("test", release, "--timeout", patience.String())
		require.Equal(w.t, before+1, w.sinks["api"].tests())
		w.helm("uninstall", release, "--wait", "--timeout", patience.String())
		w.eventually("nothing is left but the test's pod, whose log may still be wanted", func() bool {
			return "pod/"+fullname+"-test\n" == w.kubectl("get", "statefulset,service,configmap,serviceaccount,poddisruptionbudget,job,pod",
				"-l", "app.kubernetes.io/instance="+release, "-o", "name")
		})
	})
}

// rollback goes back to the revision before.
func (w *world) rollback() {
	w.t.Helper()
	w.helm("rollback", release, "--wait", "--timeout", patience.String())
}

func (w *world) rolledOut() {
	w.t.Helper()
	w.kubectl("rollout", "status", "statefulset/"+fullname, "--timeout", patience.String())
}

// owned waits until so many members share so many partitions.
func (w *world) owned(members, partitions int) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%d members share %d partitions", members, partitions), func() bool {
		m, n := w.owners.spread()
		return m == members && n == partitions
	})
}
