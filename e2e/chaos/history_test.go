//go:build e2e

package chaos

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver that reads PostgreSQL back
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/receipt"
)

// history is what happened in a run, for the checker to judge.
type history struct {
	protocol  string             // of the group
	topicID   string             // of the source topic, as it begins each idempotency key
	records   map[int32][]record // by partition, each at the index of its offset
	tenures   map[int32][]*tenure
	held      []*receipt.Receipt // what the receipts said, in their order
	arrivals  map[string][]arrival
	letters   []letter
	commits   []commit
	incidents []*incident
	reset     time.Time
	stuck     string           // what still lagged at the end
	database  map[string]int64 // key to version, at the end
	guarded   string           // the name of the target that it is
}

// position is where a record lies in the topic.
type position struct {
	partition int32
	offset    int64
}

// record is one of the source topic.
type record struct {
	position
	key, kind string
	version   int64
	written   time.Time
}

// letter is one record of the dead-letter topic.
type letter struct {
	position
	target, class, cause string // target is empty if the record as a whole is at fault
	attempts             int
	first, last, written time.Time
}

// parsePosition reads topic id/partition/offset, and /target.
func parsePosition(id string) (p position, err error) {
	parts := strings.Split(id, "/")
	if len(parts) < 3 {
		return p, fmt.Errorf("%q is no position", id)
	}
	partition, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil {
		return p, err
	}
	p.partition = int32(partition)
	p.offset, err = strconv.ParseInt(parts[2], 10, 64)
	return p, err
}

// readRecords reads the source topic.
func (w *world) readRecords() map[int32][]record {
	w.t.Helper()
	records := map[int32][]record{}
	for _, r := range w.readTopic(w.topic) {
		version, err := strconv.ParseInt(header(r, "version"), 10, 64)
		require.NoError(w.t, err)
		require.Len(w.t, records[r.Partition], int(r.Offset), "the log has a gap")
		records[r.Partition] = append(records[r.Partition],
			record{position{r.Partition, r.Offset}, string(r.Key), header(r, "kind"), version, r.Timestamp})
	}
	return records
}

// readLetters reads the dead-letter topic.
func (w *world) readLetters() (letters []letter) {
	w.t.Helper()
	moment := func(text string) time.Time {
		t, _ := time.Parse(time.RFC3339Nano, text) // zero if there was no attempt
		return t
	}
	for _, r := range w.readTopic(w.topic + "-letters") {
		p, err := parsePosition(header(r, "policysync.id"))
		require.NoError(w.t, err)
		attempts, err := strconv.Atoi(header(r, "policysync.attempts"))
		require.NoError(w.t, err)
		letters = append(letters, letter{
			position: p, target: header(r, "policysync.target"), class: header(r, "policysync.class"), cause: header(r, "policysync.error"),
			attempts: attempts, first: moment(header(r, "policysync.first-attempt")), last: moment(header(r, "policysync.last-attempt")),
			written: r.Timestamp,
		})
	}
	return letters
}

func header(r *kgo.Record, name string) string {
	for _, h := range slices.Backward(r.Headers) {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// readTopic reads a topic from its start to its present end, each partition in order.
func (w *world) readTopic(topic string) (records []*kgo.Record) {
	w.t.Helper()
	ends, err := w.adm.ListEndOffsets(w.t.Context(), topic)
	require.NoError(w.t, err)
	require.NoError(w.t, ends.Error())
	want := 0
	ends.Each(func(o kadm.ListedOffset) { want += int(o.Offset) })
	c, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.OptValue(kgo.SeedBrokers).([]string)...), kgo.ConsumeTopics(topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(w.t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for len(records) < want {
		fetches := c.PollFetches(ctx)
		require.NoError(w.t, ctx.Err(), "%s: %d of %d records", topic, len(records), want)
		records = append(records, fetches.Records()...)
	}
	return records
}

// readDatabase reads what the guarded target holds: the version of each key.
func (w *world) readDatabase() map[string]int64 {
	w.t.Helper()
	db, err := sql.Open("pgx", address(w.t, "POSTGRES"))
	require.NoError(w.t, err)
	defer db.Close()
	rows, err := db.QueryContext(w.t.Context(), "SELECT id, version FROM chaos_"+w.id)
	require.NoError(w.t, err)
	defer rows.Close()
	held := map[string]int64{}
	for rows.Next() {
		var k string
		var v int64
		require.NoError(w.t, rows.Scan(&k, &v))
		held[k] = v
	}
	require.NoError(w.t, rows.Err())
	return held
}
