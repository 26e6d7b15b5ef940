//go:build e2e

package e2e

import (
	"database/sql"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/ClickHouse/clickhouse-go/v2" // the driver that reads ClickHouse back
	_ "github.com/go-sql-driver/mysql"         // the driver that reads MariaDB back
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-sme/policysync/pkg/decode"
)

// feeSchema has what is easily lost on the way into a column.
const feeSchema = `{"type":"record","name":"FeeEvent","fields":[
	{"name":"eventId","type":"string"}, {"name":"type","type":"string"}, {"name":"version","type":"long"},
	{"name":"name","type":["null","string"]},
	{"name":"fee","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
	{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
	{"name":"rules","type":{"type":"array","items":{"type":"record","name":"Rule","fields":[{"name":"no","type":"int"},{"name":"text","type":"string"}]}}}]}`

// feeTargets are a table and its rules in two databases, and a history.
const feeTargets = `
  postgres_@id: {connector: sql, dsn: "${POLICYSYNC_E2E_POSTGRES}", schema: create, concurrency: 2, timeout: 4s, tables: @tables}
  mariadb_@id: {connector: sql, dsn: "${POLICYSYNC_E2E_MYSQL}", schema: create, concurrency: 2, timeout: 4s, tables: @tables}
  warehouse:
    connector: warehouse
    dsn: "${POLICYSYNC_E2E_CLICKHOUSE}"
    table: fees_history_@id
    batch: {size: 500, linger: 100ms}
    timeout: 4s
    map: {name: event.name, fee: event.fee, at: event.at, rules: event.rules}
`

const feeTables = `{
    fees_@id: {key: [id], version_column: version, map: {id: key, name: event.name, fee: event.fee, at: event.at}},
    fee_rules_@id: {each: event.rules, as: rule, key: [id, no], replace: true, map: {id: key, no: rule.no, text: rule.text}}}`

// fee is one version of a policy; rules shrink and grow, every fifth name is null.
func fee(n, version int) (name any, fee, at string, rules []string) {
	if (n+version)%5 != 0 {
		name = fmt.Sprintf("Prüfung 'Ω' 🏛 \\ %d v%d", n, version)
	}
	at = time.UnixMicro(1_790_000_000_000_001 + int64(n)*1_000_003 + int64(version)).UTC().Format("2006-01-02T15:04:05.000000")
	for no := range (n + 3*version) % 6 {
		rules = append(rules, fmt.Sprintf("rule %d of v%d", no, version))
	}
	return name, fmt.Sprintf("%d.%02d", n*1_000_003-5, version), at, rules
}

// A member is killed while it writes to PostgreSQL, MariaDB and ClickHouse. In the
// end each holds what the source says, value for value: updates, deletes, child
// rows, decimals, timestamps, unicode and nulls.
func TestDatabasesHoldTheSourceAfterAKill(t *testing.T) {
	const policies, versions = 1000, 8
	w := newWorld(t, 4)
	w.topic += "-fees"
	_, err := w.adm.CreateTopic(t.Context(), 4, 1, nil, w.topic)
	require.NoError(t, err)
	registry, err := decode.NewRegistry(address(t, "REGISTRY"), &http.Client{Timeout: 10 * time.Second})
	require.NoError(t, err)
	schema, err := registry.Register(t.Context(), w.topic+"-value", feeSchema)
	require.NoError(t, err)
	encoder, err := decode.NewEncoder("confluent", schema)
	require.NoError(t, err)
	w.configure(strings.ReplaceAll(feeTargets, "@tables", strings.ReplaceAll(feeTables, "\n", "")))

	rows, children := map[string]string{}, map[string]string{}
	var records []*kgo.Record
	for version := 1; version <= versions; version++ {
		for n := range policies {
			if version == versions && n%3 == 0 {
				records = append(records, &kgo.Record{Topic: w.topic, Key: []byte(key(n))})
				continue
			}
			name, amount, at, rules := fee(n, version)
			list := make([]string, len(rules))
			for no, text := range rules {
				list[no] = fmt.Sprintf(`{"no":%d,"text":%q}`, no, text)
			}
			text, shown := "null", "<nil>"
			if name != nil {
				text, shown = `"`+strings.ReplaceAll(name.(string), `\`, `\\`)+`"`, name.(string)
			}
			value, err := encoder.Encode(fmt.Appendf(nil, `{"eventId":"%s-%d","type":"feeUpdated","version":%d,"name":%s,"fee":"%s","at":"%sZ","rules":[%s]}`,
				key(n), version, version, text, amount, at, strings.Join(list, ",")))
			require.NoError(t, err)
			records = append(records, &kgo.Record{Topic: w.topic, Key: []byte(key(n)), Value: value})
			if version == versions || version == versions-1 && n%3 == 0 {
				rows[key(n)] = fmt.Sprint(shown, "|", amount, "|", at, "|", version)
				children[key(n)] = strings.Join(rules, ";")
			}
		}
	}
	for n := 0; n < policies; n += 3 {
		delete(rows, key(n))
		delete(children, key(n))
	}
	maps.DeleteFunc(children, func(_, rules string) bool { return rules == "" })
	require.Len(t, rows, policies-policies/3-1)
	first := w.start()
	postgres := open(t, "pgx", address(t, "POSTGRES"))
	for i, part := range slices.Collect(slices.Chunk(records, policies)) {
		require.NoError(t, w.kafka.ProduceSync(t.Context(), part...).FirstErr())
		if i == versions/2 {
			w.eventually("some rows are there", time.Minute, func() bool {
				var n int
				return postgres.QueryRow("SELECT COUNT(*) FROM fees_"+w.id()).Scan(&n) == nil && n > policies/2
			})
			first.kill()
			w.start()
		}
	}
	w.settles(2 * time.Minute)
	require.Empty(t, w.letters())

	mariadb := open(t, "mysql", w.mariadb())
	held := map[string][2]map[string]string{
		"PostgreSQL": {
			pairs(t, postgres, `SELECT id, concat(coalesce(name, '<nil>'), '|', fee, '|', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '|', version) FROM fees_`+w.id()),
			pairs(t, postgres, `SELECT id, string_agg(text, ';' ORDER BY no) FROM fee_rules_`+w.id()+` GROUP BY id`),
		},
		"MariaDB": {
			pairs(t, mariadb, `SELECT id, CONCAT(COALESCE(name, '<nil>'), '|', fee, '|', DATE_FORMAT(at, '%Y-%m-%dT%H:%i:%s.%f'), '|', version) FROM fees_`+w.id()),
			pairs(t, mariadb, `SELECT id, GROUP_CONCAT(text ORDER BY no SEPARATOR ';') FROM fee_rules_`+w.id()+` GROUP BY id`),
		},
		"ClickHouse": {
			pairs(t, open(t, "clickhouse", address(t, "CLICKHOUSE")), `SELECT _key, concat(ifNull(name, '<nil>'), '|', toString(assumeNotNull(fee)), '|',
				replaceOne(toString(toDateTime(intDiv(assumeNotNull(at), 1000000), 'UTC')), ' ', 'T'), '.', substring(toString(assumeNotNull(at)), 11), '|', toString(assumeNotNull(_version))) FROM fees_history_`+w.id()+`_latest`),
			nil,
		},
	}
	for system, tables := range held {
		require.Equal(t, rows, tables[0], "%s: policies", system)
		if tables[1] != nil {
			require.Equal(t, children, tables[1], "%s: rules", system)
		}
	}
}

// mariadb is the address of MariaDB as its driver wants it.
func (w *world) mariadb() string {
	dsn, err := url.Parse(address(w.t, "MYSQL"))
	require.NoError(w.t, err)
	password, _ := dsn.User.Password()
	return fmt.Sprintf("%s:%s@tcp(%s)%s?charset=utf8mb4", dsn.User.Username(), password, dsn.Host, dsn.Path)
}

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// pairs reads a query of a key and a text.
func pairs(t *testing.T, db *sql.DB, query string) map[string]string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	require.NoError(t, err)
	defer rows.Close()
	held := map[string]string{}
	for rows.Next() {
		var k, v string
		require.NoError(t, rows.Scan(&k, &v))
		held[k] = v
	}
	require.NoError(t, rows.Err())
	return held
}
