package sql

import (
	"crypto/tls"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
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

// values are one array a column: a statement whose text stays short, and which the
// server plans once for all rows. COPY into a temporary table is faster by a third
// for 5,000 rows and slower for 100, and wants the privilege to make one. The casts
// leave out the length of a type, or they would cut what is too long.
func (d postgres) values(w *writer, types []string, rows [][]any) {
	w.text("SELECT ")
	for i, t := range types {
		bare, rest, _ := strings.Cut(t, "(")
		_, suffix, _ := strings.Cut(rest, ")")
		w.separate(i, ", ").text("c" + strconv.Itoa(i) + "::" + bare + suffix)
	}
	w.text(" FROM unnest(")
	for i := range types {
		column := make([]*string, len(rows))
		for j, values := range rows {
			column[j] = text(values[i])
		}
		w.separate(i, ", ").argument(column).text("::text[]")
	}
	w.text(") AS rows(")
	for i := range types {
		w.separate(i, ", ").text("c" + strconv.Itoa(i))
	}
	w.text(")")
}

func (d postgres) anyOf(w *writer, column string, keys []string) {
	w.text(d.quote(column) + " = ANY(").argument(keys).text("::text[])")
}

// text is how PostgreSQL reads an argument, nil for null.
func text(argument any) *string {
	var s string
	switch v := argument.(type) {
	case nil:
		return nil
	case string:
		s = v
	case []byte:
		s = `\x` + hex.EncodeToString(v)
	case float64:
		s = strconv.FormatFloat(v, 'g', -1, 64)
	default:
		s = fmt.Sprint(v)
	}
	return &s
}

func (d postgres) onCollision(key, others []string) string { return onConflict(d, key, others) }

func (postgres) scalar(v any) (any, error) {
	if t, ok := v.(time.Time); ok {
		return t.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano), nil
	}
	return v, nil
}

func (postgres) traits() traits {
	return traits{lockRows: " FOR UPDATE", arrays: true, changeType: "ALTER COLUMN %s TYPE %s", types: columnTypes{
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
	return `SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`,
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
