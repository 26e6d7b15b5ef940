package sql

import (
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"net/url"
	"time"

	sqlitedriver "modernc.org/sqlite"

	"github.com/hms-sme/policysync/pkg/connector"
)

var errNoTLS = errors.New("tls is set, but SQLite is a file")

// sqlite is SQLite 3, in a file.
type sqlite struct{}

func (sqlite) open(dsn *url.URL, secure *tls.Config) (driver.Connector, error) {
	if secure != nil {
		return nil, errNoTLS
	}
	// sqlite:///srv/a.db is absolute, sqlite://a.db is not.
	file := dsn.Host + dsn.Path
	q, err := url.ParseQuery(dsn.RawQuery)
	if file == "" || err != nil {
		return nil, errDSN
	}
	// The lock is taken when the transaction begins: two that read first and then
	// both want to write can't both go on.
	q.Set("_txlock", "immediate")
	q["_pragma"] = append([]string{"busy_timeout(5000)", "foreign_keys(1)"}, q["_pragma"]...)
	c, err := sqlitedriver.NewConnector("file:" + (&url.URL{Path: file}).EscapedPath() + "?" + q.Encode())
	if err != nil {
		return nil, errDSN
	}
	return c, nil
}

func (sqlite) quote(name string) string { return quoteWith(`"`, name) }

func (sqlite) placeholder(int) string { return "?" }

func (sqlite) values(w *writer, _ []string, rows [][]any) { w.list(rows) }

// guards locks nothing: a transaction that writes has the whole database locked.
func (sqlite) guards(w *writer, columns, target string, keys []string, _ bool) {
	w.selectGuards(columns, "", target, keys)
}

func (d sqlite) onCollision(key, others []string) string { return onConflict(d, key, others) }

func (sqlite) scalar(v any) (any, error) {
	if t, ok := v.(time.Time); ok {
		return t.UTC().Format(time.RFC3339Nano), nil
	}
	return finite(v)
}

// traits have types of the storage classes. A decimal is text: as a number it would
// lose digits.
func (sqlite) traits() traits {
	return traits{oneWriter: true, foldsCase: true, types: columnTypes{
		text: "TEXT", key: "TEXT", exactKey: "TEXT", boolean: "INTEGER", integer: "INTEGER", float: "REAL", bytes: "BLOB",
		keyBytes: "BLOB", uuid: "TEXT", timestamp: "TEXT", local: "TEXT", date: "TEXT", clock: "TEXT", json: "TEXT", decimal: "TEXT",
	}}
}

func (sqlite) describe(schema, table string) (columns, indexes string, args []any) {
	if schema == "" {
		schema = "main"
	}
	// A column may be declared without a type. It takes anything, which STRICT tables call ANY.
	return `SELECT name, coalesce(nullif(type, ''), 'ANY') FROM pragma_table_info(?1, ?2)`,
		`SELECT l.name, i.name FROM pragma_index_list(?1, ?2) l JOIN pragma_index_info(l.name, ?2) i
			WHERE l."unique" = 1 AND l.partial = 0
			UNION ALL SELECT 'the primary key', name FROM pragma_table_info(?1, ?2) WHERE pk > 0`,
		[]any{table, schema}
}

// classify goes by the primary result code (SQLite, "Result and Error Codes").
func (sqlite) classify(err error) (connector.Class, bool) {
	var e *sqlitedriver.Error
	if !errors.As(err, &e) {
		return "", false
	}
	const primary = 0xff
	switch e.Code() & primary {
	case 18, // TOOBIG
		19, 20, // CONSTRAINT, MISMATCH
		25: // RANGE
		return connector.Permanent, true
	case 1, // ERROR: no such table or column, a syntax error
		3, 7, 8, 10, 11, 13, 14, 23, 26: // PERM, NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, AUTH, NOTADB
		return connector.Unavailable, true
	}
	return connector.Transient, true // BUSY, LOCKED, INTERRUPT and what else passes
}
