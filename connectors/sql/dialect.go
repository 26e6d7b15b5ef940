package sql

import (
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// dialect is what differs between databases. The rest of the package is written
// once, in the SQL that all of them share: INSERT of many rows, SELECT, DELETE.
//
// A new database needs one file with a type that implements it, a line in
// [parseDSN] and a run of the suite in e2e_test.go. It must have transactions, an
// INSERT that updates the row it collides with in one statement, and a way to
// hold a row's lock until the transaction ends.
type dialect interface {
	// open returns what makes connections, with TLS if secure is set. A transaction on
	// them sees what others have committed meanwhile (READ COMMITTED). It checks dsn,
	// without any I/O, and its error must not quote it: it holds a password.
	open(dsn *url.URL, secure *tls.Config) (driver.Connector, error)
	// quote makes an identifier of any text.
	quote(name string) string
	// placeholder stands for the nth argument, counted from 1.
	placeholder(n int) string
	// values writes what an INSERT into columns of the types inserts.
	values(w *writer, types []string, rows [][]any)
	// guards writes a SELECT of the columns of the target's guards that have one of the
	// keys, and locks them, if that is wanted, in the order of the keys. It must read
	// no others, even before the database has statistics of a table that grows.
	guards(w *writer, columns, target string, keys []string, lock bool)
	// onCollision ends an INSERT: a row whose key exists gets the new values of the
	// other columns. Without others it stays as it is. Columns are not yet quoted.
	onCollision(key, others []string) string
	// scalar makes an argument for the driver from a value that is not composite:
	// nil, or one of bool, int64, float64, string and []byte.
	scalar(v any) (any, error)
	// describe returns a query for a table's columns, as pairs of a name and a type as
	// the database's own language has it, never empty, and one for pairs of a unique index
	// and one of its columns, both with the same arguments. A table that does not exist has
	// no columns.
	describe(schema, table string) (columns, indexes string, args []any)
	// classify tells the class of an error that the database or its driver returned,
	// by its code; false if it is not of theirs.
	classify(err error) (connector.Class, bool)
	// traits are what needs no code.
	traits() traits
}

// traits are constants of a dialect.
type traits struct {
	// transaction makes one, if a round trip for each statement is not needed.
	transaction func(db *sql.DB) transaction
	// arrays is set if values takes one argument a column, not one a value.
	arrays bool
	// oneWriter is set if a second connection would only wait for the first.
	oneWriter bool
	// foldsCase is set if names of columns that differ in case are one.
	foldsCase bool
	types     columnTypes
	// changeType is what ALTER TABLE does to change a column's type, with verbs for
	// the column and the type; empty if it can't.
	changeType string
	// tableOptions ends a CREATE TABLE, and guardOptions that of the guards besides.
	tableOptions, guardOptions string
}

// errDSN does not wrap what the parsers say: they quote parts of the password.
var errDSN = errors.New("parse dsn: want postgres://, mysql:// or sqlite:// with USER:PASSWORD@HOST:PORT/DATABASE or a path; " +
	"reserved characters in the password are percent-encoded")

func parseDSN(dsn string) (*url.URL, dialect, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, nil, errDSN
	}
	switch u.Scheme {
	case "postgres", "postgresql":
		return u, postgres{}, nil
	case "mysql":
		return u, mysql{}, nil
	case "sqlite":
		return u, sqlite{}, nil
	}
	return nil, nil, errDSN
}

// argument makes an argument for the driver from a value of an event. Its error
// means that the database has no form for the value.
func argument(d dialect, v any) (any, error) {
	switch v := v.(type) {
	case []any, map[string]any, *event.Object:
		return event.JSONText(v)
	case event.Date, event.Decimal:
		return fmt.Sprint(v), nil
	case time.Duration:
		return event.Text(v)
	case int:
		return int64(v), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	}
	return d.scalar(v)
}

// finite refuses the floating-point numbers that only some databases can hold.
func finite(v any) (any, error) {
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return nil, fmt.Errorf("%v is no number that the database can hold", f)
	}
	return v, nil
}

// quoteTable quotes the parts of SCHEMA.TABLE.
func quoteTable(d dialect, name string) string {
	if schema, table := splitTable(name); schema != "" {
		return d.quote(schema) + "." + d.quote(table)
	}
	return d.quote(name)
}

func splitTable(name string) (schema, table string) {
	if schema, table, ok := strings.Cut(name, "."); ok {
		return schema, table
	}
	return "", name
}

func quoteAll(d dialect, names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = d.quote(name)
	}
	return strings.Join(quoted, ", ")
}

// onConflict is the ending that PostgreSQL and SQLite share.
func onConflict(d dialect, key, others []string) string {
	if len(others) == 0 {
		return " ON CONFLICT (" + quoteAll(d, key) + ") DO NOTHING"
	}
	set := make([]string, len(others))
	for i, c := range others {
		set[i] = d.quote(c) + " = excluded." + d.quote(c)
	}
	return " ON CONFLICT (" + quoteAll(d, key) + ") DO UPDATE SET " + strings.Join(set, ", ")
}

func quoteWith(mark, name string) string {
	return mark + strings.ReplaceAll(name, mark, mark+mark) + mark
}
