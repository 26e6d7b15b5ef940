package warehouse

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
)

// engine is what can hold a history table. Its errors carry their class.
//
// insert is one commit: it takes all rows, each with its source position, or none. One
// that cannot take rows of several partitions at once may leave some behind an error:
// they come again, and collapse.
type engine interface {
	// create makes the history table and the view of the newest versions, if they do
	// not exist. It leaves those that do as they are.
	create(ctx context.Context, t *table) error
	// evolution returns the statements that add columns to the history table and make
	// the view anew. It changes nothing.
	evolution(ctx context.Context, t *table, missing []column) ([]string, error)
	exec(ctx context.Context, statement string) error
	// columns returns the types of the table's columns by name, in the engine's own
	// words; none if there is no such table.
	columns(ctx context.Context, name string) (map[string]string, error)
	// fitter makes the values of columns of the given type, in the engine's own words.
	fitter(columnType string) fitter
	// insert appends rows of fitted values in the order of t's columns.
	insert(ctx context.Context, t *table, rows [][]any) error
	// query calls each for every row of a query; the values are the driver's.
	query(ctx context.Context, query string, args []any, each func([]any) error) error
	close() error
}

const duckDBScheme = "duckdb://"

// engines are what a DSN can name, by its scheme, and an example of each.
var engines = []struct{ scheme, example string }{
	{clickhouseScheme, "clickhouse://HOST:9000/DATABASE"},
	{duckDBScheme, "duckdb://PATH"},
	{parquetScheme, "parquet://FOLDER"},
	{sqliteScheme, "sqlite://PATH"},
}

// openEngine makes the engine for the DSN, without connecting.
func openEngine(dsn string, t *table, env connector.Env) (engine, error) {
	if err := checkDSN(dsn); err != nil {
		return nil, err
	}
	scheme, rest, _ := strings.Cut(dsn, "://")
	switch scheme + "://" {
	case duckDBScheme:
		return openDuckDB(rest)
	case parquetScheme:
		return openParquet(rest, t), nil
	case sqliteScheme:
		return openSQLite(rest)
	}
	return openClickHouse(dsn, env)
}

// checkDSN looks at the scheme alone: what follows is secret, and the driver's to
// judge.
func checkDSN(dsn string) error {
	scheme, rest, ok := strings.Cut(dsn, "://")
	var examples []string
	known := false
	for _, e := range engines {
		examples = append(examples, e.example)
		known = known || scheme+"://" == e.scheme
	}
	want := strings.Join(examples[:len(examples)-1], ", ") + " or " + examples[len(examples)-1]
	switch {
	case !ok:
		return fmt.Errorf("no scheme: want %s", want)
	case !known:
		return fmt.Errorf("unknown scheme %q: want %s", scheme, want)
	case rest == "":
		return fmt.Errorf("nothing after %s://", scheme)
	case scheme+"://" == duckDBScheme && !hasDuckDB:
		return errors.New("this binary has no DuckDB: build it with cgo and -tags duckdb")
	}
	return nil
}
