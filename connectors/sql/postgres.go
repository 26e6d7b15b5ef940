package sql

import (
	"crypto/tls"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/hms-sme/policysync/pkg/connector"
)

// postgres is PostgreSQL 12 and later.
type postgres struct{}

func (postgres) open(dsn *url.URL, secure *tls.Config) (driver.Connector, error) {
	config, err := pgx.ParseConfig(dsn.String())
	if err != nil {
		return nil, errDSN
	}
	// Arguments go as text whose type the server infers from the column, so that an
	// integer fits a text column; one round trip, and poolers need no prepared
	// statements.
	if secure != nil {
		config.TLSConfig, config.Fallbacks = secure, nil
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	return stdlib.GetConnector(*config), nil
}

func (postgres) quote(name string) string { return quoteWith(`"`, name) }

func (postgres) placeholder(n int) string { return "$" + strconv.Itoa(n) }

// fewRows is up to how many rows a list of values is written faster than arrays.
const fewRows = 30

// values are one array a column, or one argument if all rows have the same: a statement
// whose text stays short, and which the server plans once for all rows. COPY into a
// temporary table is no faster for 1,000 rows and slower for 100, and wants the privilege
// to make one. The casts are to types without a length, or they would cut what is too long.
func (d postgres) values(w *writer, types []string, rows [][]any) {
	if len(rows) <= fewRows {
		w.list(textRows(rows))
		return
	}
	var varying []int
	w.text("SELECT ")
	for i, t := range types {
		if w.separate(i, ", "); constant(rows, i) {
			w.argument(text(rows[0][i])).text("::text")
		} else {
			w.text("c" + strconv.Itoa(i))
			varying = append(varying, i)
		}
		w.text("::" + withoutLength(t))
	}
	w.text(" FROM unnest(")
	for n, i := range varying {
		w.separate(n, ", ").argument(array(rows, i)).text("::text[]")
	}
	w.text(") AS rows(")
	for n, i := range varying {
		w.separate(n, ", ").text("c" + strconv.Itoa(i))
	}
	w.text(")")
}

// constant reports whether all rows have the same in a column, and not null.
func constant(rows [][]any, column int) bool {
	first := rows[0][column]
	switch first.(type) {
	case string, int64, bool:
		return !slices.ContainsFunc(rows, func(r []any) bool { return r[column] != first })
	}
	return false
}

// withoutLength is the type of values of any length. Two types that name none have the
// length 1.
func withoutLength(name string) string {
	bare, rest, _ := strings.Cut(name, "(")
	_, suffix, _ := strings.Cut(rest, ")")
	switch bare {
	case "character":
		bare = "bpchar"
	case "bit":
		bare = "bit varying"
	}
	return bare + suffix
}

// guards looks up key by key. For "key = ANY(…)" the server, as long as it has no
// statistics, reads all guards of the target.
func (postgres) guards(w *writer, columns, target string, keys []string, lock bool) {
	if len(keys) == 1 { // the server plans it sooner
		w.selectGuards(columns, "", target, keys)
		if lock {
			w.text(" FOR UPDATE")
		}
		return
	}
	w.text("SELECT found.* FROM unnest(").argument(keys).text("::text[]) AS wanted(key) CROSS JOIN LATERAL (SELECT " +
		columns + " FROM " + guardTable + " AS guards WHERE target = ").argument(target).text(" AND guards.key = wanted.key")
	if lock {
		w.text(" FOR UPDATE")
	}
	w.text(") AS found")
}

// array is the literal of one column's values.
func array(rows [][]any, column int) string {
	size := len(`{}`)
	for _, values := range rows {
		size += len(`"",`) + textLength(values[column])
	}
	var literal strings.Builder
	literal.Grow(size)
	for i, values := range rows {
		literal.WriteByte("{,"[min(i, 1)])
		if values[column] == nil {
			literal.WriteString("NULL")
			continue
		}
		literal.WriteByte('"')
		_, _ = escaped.WriteString(&literal, text(values[column])) // a builder takes all
		literal.WriteByte('"')
	}
	literal.WriteByte('}')
	return literal.String()
}

var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func textRows(rows [][]any) [][]any {
	texts := make([][]any, len(rows))
	for i, values := range rows {
		texts[i] = make([]any, len(values))
		for j, v := range values {
			if v != nil {
				texts[i][j] = text(v)
			}
		}
	}
	return texts
}

// text is how PostgreSQL reads an argument that is not null.
func text(argument any) string {
	switch v := argument.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case []byte:
		return `\x` + hex.EncodeToString(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return fmt.Sprint(argument)
}

// textLength is about the length of text(argument), without making it.
func textLength(argument any) int {
	switch v := argument.(type) {
	case string:
		return len(v)
	case []byte:
		return len(`\x`) + hex.EncodedLen(len(v))
	}
	return len("1234567890")
}

func (d postgres) onCollision(key, others []string) string { return onConflict(d, key, others) }

func (postgres) scalar(v any) (any, error) {
	if t, ok := v.(time.Time); ok {
		return t.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano), nil
	}
	return v, nil
}

func (postgres) traits() traits {
	// Each guard is written again and again: with room beside it that stays on its page,
	// and touches no index (PostgreSQL documentation, "Heap-Only Tuples").
	return traits{arrays: true, transaction: newPipeline, guardOptions: " WITH (fillfactor = 50)", changeType: "ALTER COLUMN %s TYPE %s", types: columnTypes{
		text: "text", key: "text", exactKey: "text", boolean: "boolean", integer: "bigint", float: "double precision",
		bytes: "bytea", keyBytes: "bytea", timestamp: "timestamptz", local: "timestamp", date: "date", clock: "time", json: "jsonb",
		uuid: "uuid", decimal: "numeric(%d, %d)", maxPrecision: 1000,
	}}
}

func (d postgres) describe(schema, table string) (columns, indexes string, args []any) {
	name := d.quote(table)
	if schema != "" {
		name = d.quote(schema) + "." + name
	}
	// The type of a domain is what it is made of: a cast to the domain cuts as well.
	return `SELECT attname, (WITH RECURSIVE made(type, modifier) AS (SELECT atttypid, atttypmod
				UNION ALL SELECT typbasetype, typtypmod FROM made JOIN pg_type ON pg_type.oid = type WHERE typtype = 'd')
			SELECT format_type(type, modifier) FROM made JOIN pg_type ON pg_type.oid = type WHERE typtype <> 'd')
			FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`,
		`SELECT i.indexrelid::text, a.attname FROM pg_index i JOIN pg_attribute a
			ON a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts-1])
			WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL`,
		[]any{name}
}

// classify goes by SQLSTATE (PostgreSQL documentation, appendix A).
func (postgres) classify(err error) (connector.Class, bool) {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return connector.Unavailable, pgconn.SafeToRetry(err)
	}
	switch e.Code {
	case "42501", // insufficient_privilege: our credentials are wrong, not the policy
		"25006",                            // read_only_sql_transaction: a standby
		"42P01", "42703", "42704", "3F000", // no such table, column, type or schema: it was there when we checked
		"42P10", "42601", "42883": // no such unique index, syntax error, no such routine
		return connector.Unavailable, true
	case "55P03", // lock_not_available
		"25P02", "25P03": // the transaction ended under us
		return connector.Transient, true
	}
	return classOfState(e.Code), true
}

// classOfState goes by the class of an SQLSTATE (ISO/IEC 9075-2, subclause 24.1),
// its first two characters.
func classOfState(state string) connector.Class {
	if len(state) < 2 {
		return connector.Transient
	}
	switch state[:2] {
	case "08", // connection exception
		"28", // invalid authorization
		"3D", // no such database
		"53", // insufficient resources: connections, disk, memory
		"57", // operator intervention: shutdown, statement timeout
		"58": // system error
		return connector.Unavailable
	case "0A", "0L", "0P", "20", "21",
		"22",                         // data exception
		"23",                         // constraint violation
		"26", "2B", "2F", "34", "38", // in routines and triggers
		"39", "3B", "44", // check option violation
		"45", "P0", // raised by a routine or a trigger
		"42", // an operand of the wrong type
		"54": // program limit exceeded
		return connector.Permanent
	}
	return connector.Transient
}
