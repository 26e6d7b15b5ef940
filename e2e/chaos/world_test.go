//go:build e2e

package chaos

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-sme/policysync/pkg/event"
)

// kafkaPort is the first broker's. The brokers of this suite are its own, since it
// kills them; the registry and PostgreSQL it shares with the other tests.
const kafkaPort = 21092

// world is everything that a run needs: brokers, links, targets, members.
type world struct {
	t        *testing.T
	dir      string // logs and configs
	id       string // of the run
	topic    string // and group
	topicID  event.TopicID
	protocol string // of the group
	kafka    *kgo.Client
	adm      *kadm.Client
	links    *links
	targets  map[string]*target
	members  []*member
	stream   *stream
	more     bool // the targets that are added on the way are configured
	sides    map[string]string
	urls     map[string]string
}

// address is a server's, from what e2e/servers/all.sh printed.
func address(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv("POLICYSYNC_E2E_" + name)
	require.NotEmpty(t, v, "run it by `make e2e` or `make chaos`")
	return v
}

// script runs Kafka's script on this suite's own brokers.
func script(args ...string) error {
	c := exec.Command("../servers/kafka.sh", args...)
	c.Env = append(os.Environ(), "POLICYSYNC_E2E_SET=chaos", fmt.Sprintf("POLICYSYNC_E2E_KAFKA_PORT=%d", kafkaPort))
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("kafka.sh %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func newWorld(t *testing.T, binary string, seed uint64) *world {
	t.Helper()
	id := fmt.Sprint(time.Now().UnixNano())
	w := &world{
		t: t, dir: t.ArtifactDir(), id: id, topic: "chaos-" + id, protocol: protocol(seed),
		targets: map[string]*target{}, links: newLinks(t),
	}
	started = true
	require.NoError(t, script("start", strconv.Itoa(brokers))) // also what a run that failed had killed
	var err error
	w.kafka, err = kgo.NewClient(kgo.SeedBrokers(fmt.Sprintf("127.0.0.1:%d", kafkaPort), fmt.Sprintf("127.0.0.1:%d", kafkaPort+10)),
		kgo.MetadataMaxAge(2*time.Second), kgo.MetadataMinAge(100*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(w.kafka.Close)
	w.adm = kadm.NewClient(w.kafka)
	created, err := w.adm.CreateTopic(t.Context(), 6, 3, nil, w.topic)
	require.NoError(t, err)
	w.topicID = event.TopicID(created.ID)
	t.Cleanup(w.clear)
	w.setTimes()
	w.stream = newStream(t, w, seed)

	w.sides = map[string]string{"a": w.links.addKafka("a"), "b": w.links.addKafka("b")}
	w.urls = map[string]string{
		"registry": w.links.behind("registry", address(t, "REGISTRY")),
		"database": w.links.behind("database", address(t, "POSTGRES")),
	}
	for _, name := range []string{"steady", "rough", "picky", "newest", "late", "past"} {
		w.targets[name] = newTarget(t)
		w.urls[name] = w.links.behind(name, w.targets[name].url)
	}
	w.configure()
	for i := range slots {
		m := &member{t: t, name: fmt.Sprintf("member-%d", i), binary: binary, dir: w.dir, config: w.config("ab"[i%2 : i%2+1])}
		if i%2 == 1 {
			m.env = []string{"INSTANCE=" + m.name}
		}
		w.members = append(w.members, m)
		t.Cleanup(m.close)
	}
	out, err := exec.Command(binary, "topics", "create", "-c", w.config("a")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Eventually(t, w.known, 30*time.Second, 100*time.Millisecond, "a broker does not know the topics")
	return w
}

// topics are those of a run.
func (w *world) topics() []string {
	return []string{w.topic, w.topic + "-letters", w.topic + ".receipts", w.topic + ".control"}
}

// clear deletes them: with each that is left behind a broker needs longer to come back.
func (w *world) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := w.adm.DeleteTopics(ctx, w.topics()...); err != nil {
		w.t.Logf("delete the topics: %v", err)
	}
}

// known reports whether each broker knows the topics: a member that asks one that
// does not refuses to start.
func (w *world) known() bool {
	for node := range brokers {
		req := kmsg.NewPtrMetadataRequest()
		for _, name := range w.topics() {
			topic := kmsg.NewMetadataRequestTopic()
			topic.Topic = &name
			req.Topics = append(req.Topics, topic)
		}
		resp, err := req.RequestWith(w.t.Context(), w.kafka.Broker(node+1))
		if err != nil || slices.ContainsFunc(resp.Topics, func(t kmsg.MetadataResponseTopic) bool { return t.ErrorCode != 0 }) {
			return false
		}
	}
	return true
}

// setTimes gives the group the session timeout of the members' config: with KIP-848
// the broker decides about it.
func (w *world) setTimes() {
	w.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	group := kmsg.NewIncrementalAlterConfigsRequestResource()
	group.ResourceType, group.ResourceName = kmsg.ConfigResourceTypeGroupConfig, w.topic
	for name, d := range map[string]time.Duration{
		"consumer.session.timeout.ms": sessionTimeout, "consumer.heartbeat.interval.ms": sessionTimeout / 10,
	} {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = name, new(strconv.FormatInt(d.Milliseconds(), 10))
		group.Configs = append(group.Configs, c)
	}
	req.Resources = append(req.Resources, group)
	resp, err := req.RequestWith(w.t.Context(), w.kafka)
	require.NoError(w.t, err)
	require.Zero(w.t, resp.Resources[0].ErrorCode)
}

// database is the name of the guarded target, whose guards lie in a table that all
// tests share.
func (w *world) database() string { return "database_" + w.id }

func (w *world) config(side string) string { return filepath.Join(w.dir, side+".yaml") }

// configure writes the config for either side of the links to Kafka.
func (w *world) configure() {
	w.t.Helper()
	text := `
kafka: {brokers: [@kafka], group: @topic, topics: [@topic], instance_id: "${INSTANCE:}", group_protocol: @protocol, session_timeout: @session}
schemas: {registry: {url: "@registry"}}
dead_letters: {topic: @topic-letters}
health: {listen: "127.0.0.1:0"}
drain_timeout: 2s
targets:`
	http := func(name, more string) string {
		return `
  ` + name + `:
    connector: http
    url: "@` + name + `/"
    method: PUT
    delete: {url: "@` + name + `/"}
    headers: {X-Member: "${MEMBER:none}"}
    map: {title: event.payload.name}
    timeout: @attempt
    concurrency: 16
    retry: {initial: 50ms, max: 500ms, max_attempts: @max}
    breaker: {window: 5s, open_for: 300ms, open_max: 1s}
` + more
	}
	text += http("steady", "")
	text += http("rough", "    window: {deliveries: 20}\n") // so that it detaches at once
	text += http("picky", "    window: {deliveries: 40}\n    when: event.version % 3 != 0\n")
	text += `
  ` + w.database() + `:
    connector: sql
    dsn: "@database"
    schema: create
    batch: {size: 20, linger: 20ms}
    concurrency: 2
    timeout: @attempt
    window: {deliveries: 40}
    retry: {initial: 50ms, max: 500ms, max_attempts: @max}
    breaker: {window: 5s, open_for: 300ms, open_max: 1s}
    tables:
      chaos_` + w.id + `: {key: [id], version_column: version, map: {id: event.payload.policyId, title: event.payload.name}}
`
	text += http("newest", "    deliver: latest\n    window: {deliveries: 40}\n")
	if w.more {
		text += http("late", "") + http("past", "    start: earliest\n")
	}
	for side, addresses := range w.sides {
		r := strings.NewReplacer("@kafka", addresses, "@topic", w.topic, "@protocol", w.protocol, "@session", sessionTimeout.String(), "@attempt", attemptTimeout.String(), "@max", strconv.Itoa(maxAttempts),
			"@registry", w.urls["registry"], "@database", w.urls["database"],
			"@steady", w.urls["steady"], "@rough", w.urls["rough"], "@picky", w.urls["picky"],
			"@newest", w.urls["newest"], "@late", w.urls["late"], "@past", w.urls["past"])
		require.NoError(w.t, os.WriteFile(w.config(side), []byte(r.Replace(text)), 0o600))
	}
}

// settle waits until no target lags, and says what still does at the limit.
func (w *world) settle(limit time.Duration) (behind string) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		if behind = w.behind(w.t.Context()); behind == "" {
			return ""
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return behind
		}
	}
}

// behind says which cursor is not at the end of its partition, or "" if all are.
func (w *world) behind(ctx context.Context) string {
	ends, err := w.adm.ListEndOffsets(ctx, w.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err.Error()
	}
	offsets, err := w.adm.FetchOffsets(ctx, w.topic)
	if err != nil {
		return err.Error()
	}
	for id, end := range ends[w.topic] {
		committed, ok := offsets.Lookup(w.topic, id)
		switch {
		case end.Offset == 0: // nothing to commit
		case !ok:
			return fmt.Sprintf("partition %d: no commit", id)
		case committed.At < end.Offset:
			return fmt.Sprintf("partition %d: committed %d of %d", id, committed.At, end.Offset)
		}
	}
	return ""
}
