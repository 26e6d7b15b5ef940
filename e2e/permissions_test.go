//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// grant is a row of the table of docs/kafka-permissions.md.
type grant struct{ who, on, name, operations string }

// grants reads the table; names are this test's own.
func (w *world) grants() (all []grant) {
	w.t.Helper()
	text, err := os.ReadFile("../docs/kafka-permissions.md")
	require.NoError(w.t, err)
	names := strings.NewReplacer("policysync.dead-letters", w.topic+"-letters", "policy-events", w.topic, "policysync", w.topic)
	for _, row := range regexp.MustCompile("(?m)^\\| (\\w+) \\| (\\w+) \\| `(.*)` \\| (.*) \\|$").FindAllStringSubmatch(string(text), -1) {
		all = append(all, grant{row[1], row[2], names.Replace(row[3]), row[4]})
	}
	require.NotEmpty(w.t, all)
	return all
}

func (g grant) acls() *kadm.ACLBuilder {
	var ops []kmsg.ACLOperation
	for name := range strings.SplitSeq(g.operations, ", ") {
		op, _ := kmsg.ParseACLOperation(name)
		ops = append(ops, op)
	}
	b := kadm.NewACLs().Allow("User:" + g.who).AllowHosts("127.0.0.1").Operations(ops...).ResourcePatternType(kadm.ACLPatternLiteral)
	if g.on == "group" {
		return b.Groups(g.name)
	}
	return b.Topics(g.name)
}

// A broker that enforces just what docs/kafka-permissions.md lists lets everybody do their
// work, and nobody else's; what a member lacks is named before it starts.
func TestListedPermissionsSuffice(t *testing.T) {
	const policies = 20
	w := newWorld(t, 2)
	w.configure(`  api: {connector: scheduling, url: "@api/v1/rules", timeout: 2s}` + "\n")
	own := []string{w.topic + "-letters", w.topic + ".receipts", w.topic + ".control"}
	_, err := w.adm.DeleteTopics(t.Context(), own...)
	require.NoError(t, err)
	w.eventually("they are gone", time.Minute, func() bool {
		found, err := w.adm.ListTopics(t.Context(), own...)
		return err == nil && len(found.Names()) == 0 || found.Error() != nil
	})
	w.logIn()
	rows := w.grants()
	for _, g := range rows {
		results, err := w.adm.CreateACLs(t.Context(), g.acls())
		require.NoError(t, err)
		require.NoError(t, results[0].Err)
	}
	require.Contains(t, w.as("deployer", "topics", "create"), "created "+own[2])
	require.NotContains(t, w.as("member", "validate", "--connect"), "FAIL  kafka")

	w.start("WHO=member")
	w.publish(policies, 1, 1)
	w.write("nonsense", []byte("no Avro"))
	w.eventually("all arrived", time.Minute, func() bool {
		return w.api.Arrivals().Applied == policies && len(w.letters()) == 1
	})
	for _, c := range [][]string{{"status"}, {"status", "--key", "P-1"}, {"commands"}, {"targets", "list"}, {"dead-letters", "list"}} {
		w.as("viewer", c...)
	}
	for _, c := range [][]string{
		{"pause", "--target", "api"},
		{"resume", "--target", "api"},
		{"replay", "--target", "api", "--from", "earliest"},
		{"dead-letters", "discard", "--class", "permanent", "--reason", "e2e"},
	} {
		require.Error(t, w.tries("viewer", c...), "%v", c)
		w.as("operator", c...)
	}
	w.eventually("the replay arrived", time.Minute, func() bool { return w.api.Arrivals().Applied == 2*policies })

	for _, g := range rows {
		if g.who != "member" {
			continue
		}
		_, err := w.adm.DeleteACLs(t.Context(), g.acls())
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			out, _ := w.command("member", "validate", "--connect").CombinedOutput()
			return strings.Contains(string(out), "READ on "+g.on+" "+g.name) ||
				g.on == "group" && strings.Contains(string(out), "READ on the group")
		}, time.Minute, time.Second, "%v is not missed", g)
		_, err = w.adm.CreateACLs(t.Context(), g.acls())
		require.NoError(t, err)
	}
}

// logIn makes the config use the broker's port where one has to say WHO one is.
func (w *world) logIn() {
	w.t.Helper()
	text, err := os.ReadFile(w.file)
	require.NoError(w.t, err)
	to := `kafka: {brokers: ["` + address(w.t, "KAFKA_LOGIN") + `"], sasl: {mechanism: PLAIN, username: "${WHO}", password: open-sesame}`
	text = []byte(strings.Replace(string(text), `kafka: {brokers: ["`+w.broker+`"]`, to, 1))
	require.NoError(w.t, os.WriteFile(w.file, text, 0o600))
}

func (w *world) command(who string, args ...string) *exec.Cmd {
	c := exec.CommandContext(w.t.Context(), filepath.Join(bin, "policysync"), append(args, "-c", w.file)...)
	c.Env = append(os.Environ(), "WHO="+who)
	return c
}

func (w *world) tries(who string, args ...string) error {
	_, err := w.command(who, args...).CombinedOutput()
	return err
}

func (w *world) as(who string, args ...string) string {
	w.t.Helper()
	out, err := w.command(who, args...).CombinedOutput()
	require.NoError(w.t, err, "%s %v: %s", who, args, out)
	return string(out)
}
