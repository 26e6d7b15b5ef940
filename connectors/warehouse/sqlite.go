package warehouse

import (
	"errors"
	"net/url"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

const sqliteScheme = "sqlite://"

// timestampText is a moment as text of fixed width, so that texts sort as times do.
const timestampText = "2006-01-02T15:04:05.000000Z"

// sqliteEngine keeps the history in a file that others may read meanwhile.
type sqliteEngine struct{ database }

func openSQLite(path string) (*sqliteEngine, error) {
	pragmas := url.Values{"_pragma": {"busy_timeout(1000)", "journal_mode(WAL)"}}
	source := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + pragmas.Encode()
	if path == ":memory:" {
		source = ":memory:"
	}
	d, err := openDatabase(database{
		classify: classifySQLite, typeOf: sqliteType, sorts: true,
		// A column may be declared without a type; STRICT tables call that ANY.
		describe: "SELECT name, coalesce(nullif(type, ''), 'ANY') FROM pragma_table_info(?)",
	}, "sqlite", source)
	if err != nil {
		return nil, err
	}
	return &sqliteEngine{d}, nil
}

// sqliteType is the type of a column for values of type t.
func sqliteType(t *event.Type) string {
	switch {
	case t == nil, t.Logical != "":
		return "TEXT"
	case t.Kind == event.Boolean, t.Kind == event.Int, t.Kind == event.Long:
		return "INTEGER"
	case t.Kind == event.Float, t.Kind == event.Double:
		return "REAL"
	case t.Kind == event.Bytes, t.Kind == event.Fixed:
		return "BLOB"
	}
	return "TEXT"
}

// fitter keeps numbers and bytes, and writes all else as text.
func (*sqliteEngine) fitter(string) fitter {
	return func(v any) (any, error) {
		switch v := v.(type) {
		case int64, float64, bool, []byte:
			return v, nil
		case time.Time:
			return v.UTC().Format(timestampText), nil
		}
		return fitText(v)
	}
}

// classifySQLite gives an error its class by its primary result code
// (https://sqlite.org/rescode.html).
func classifySQLite(err error) error {
	if err == nil {
		return nil
	}
	coded := (*sqlite.Error)(nil)
	if !errors.As(err, &coded) {
		return connector.AsUnavailable(err)
	}
	switch coded.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
		return connector.AsPermanent(err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_PERM,
		sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR,
		sqlite3.SQLITE_ERROR: // a table or column that is not there
		return connector.AsUnavailable(err)
	}
	return connector.AsTransient(err)
}
