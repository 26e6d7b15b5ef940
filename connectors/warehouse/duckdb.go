//go:build duckdb && cgo

package warehouse

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"
	"github.com/shopspring/decimal"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

const hasDuckDB = true

// duckDB keeps the history in a file of DuckDB, which one process at a time may open.
type duckDB struct{ database }

func openDuckDB(path string) (engine, error) {
	if path == ":memory:" {
		path = ""
	}
	d, err := openDatabase(database{
		classify: classifyDuckDB, typeOf: duckDBType,
		describe: "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ?",
	}, "duckdb", path)
	if err != nil {
		return nil, err
	}
	return &duckDB{d}, nil
}

// insert appends to a table of the connection's own, which takes thousands of rows in
// the time of one INSERT, and moves them from there.
func (d *duckDB) insert(ctx context.Context, t *table, rows [][]any) error {
	return classifyDuckDB(d.commit(ctx, t, rows))
}

func (d *duckDB) commit(ctx context.Context, t *table, rows [][]any) error {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it goes back to the pool
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit there is nothing to roll back
	columns := quote(t.columnNames()...)
	//nolint:gosec // names are quoted
	_, err = tx.ExecContext(ctx, "CREATE OR REPLACE TEMP TABLE arrived AS SELECT "+columns+" FROM "+quote(t.name)+" LIMIT 0")
	if err != nil {
		return err
	}
	if err := conn.Raw(func(c any) error { return appendRows(c, rows) }); err != nil {
		return err
	}
	//nolint:gosec // as above
	_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO "+quote(t.name)+" ("+columns+") SELECT "+columns+
		" FROM arrived QUALIFY row_number() OVER (PARTITION BY "+quote(identity[:]...)+" ORDER BY _ingested_at DESC) = 1")
	if err != nil {
		return err
	}
	return tx.Commit()
}

func appendRows(c any, rows [][]any) error {
	conn, ok := c.(driver.Conn)
	if !ok {
		return fmt.Errorf("connection is %T", c)
	}
	a, err := duckdb.NewAppender(conn, "temp", "main", "arrived")
	if err != nil {
		return err
	}
	values := make([]driver.Value, 0, 16)
	for _, row := range rows {
		values = values[:0]
		for _, v := range row {
			values = append(values, v)
		}
		if err := a.AppendRow(values...); err != nil {
			return errors.Join(err, a.Close())
		}
	}
	return a.Close()
}

// duckDBType is the type of a column for values of type t. Moments are UTC.
func duckDBType(t *event.Type) string {
	if t == nil {
		return "VARCHAR"
	}
	switch t.Logical {
	case event.LogicalDecimal:
		if t.Precision <= 38 {
			return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)
		}
		return "VARCHAR"
	case event.LogicalDate:
		return "DATE"
	case event.LogicalTimestampNanos, event.LogicalLocalNanos:
		return "TIMESTAMP_NS"
	case event.LogicalTimestampMillis, event.LogicalTimestampMicros, event.LogicalLocalMillis, event.LogicalLocalMicros:
		return "TIMESTAMP"
	case "":
	default:
		return "VARCHAR"
	}
	switch t.Kind {
	case event.Boolean:
		return "BOOLEAN"
	case event.Int:
		return "INTEGER"
	case event.Long:
		return "BIGINT"
	case event.Float:
		return "FLOAT"
	case event.Double:
		return "DOUBLE"
	case event.Bytes, event.Fixed:
		return "BLOB"
	default:
		return "VARCHAR"
	}
}

// sameTypes are ClickHouse's names of DuckDB's types whose values must be in a range.
var sameTypes = map[string]string{
	"TINYINT": "Int8", "SMALLINT": "Int16", "INTEGER": "Int32", "BIGINT": "Int64",
	"UTINYINT": "UInt8", "USMALLINT": "UInt16", "UINTEGER": "UInt32", "UBIGINT": "UInt64",
	"FLOAT": "Float32", "DOUBLE": "Float64", "BOOLEAN": "Bool",
}

var decimalType = regexp.MustCompile(`^DECIMAL\((\d+),(\d+)\)$`)

// fitter refuses what DuckDB would round, and what is out of a column's range.
func (*duckDB) fitter(columnType string) fitter {
	if name, ok := sameTypes[columnType]; ok {
		return clickHouseFitter(name, nil)
	}
	if m := decimalType.FindStringSubmatch(columnType); m != nil {
		precision, scale := digits(m[1:])
		fit := decimals(precision, scale)
		return func(v any) (any, error) {
			fitted, err := fit(v)
			d, _ := fitted.(decimal.Decimal)
			//nolint:gosec // two digits each
			return duckdb.Decimal{Width: uint8(precision), Scale: uint8(scale), Value: d.Shift(scale).BigInt()}, err
		}
	}
	switch {
	case columnType == "DATE", strings.HasPrefix(columnType, "TIMESTAMP"):
		return times(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))
	case columnType == "BLOB":
		return only[[]byte]
	}
	return fitText
}

// classifyDuckDB gives an error its class by the driver's type of it.
func classifyDuckDB(err error) error {
	if err == nil {
		return nil
	}
	coded := (*duckdb.Error)(nil)
	if !errors.As(err, &coded) {
		return connector.AsUnavailable(err)
	}
	switch coded.Type {
	case duckdb.ErrorTypeConstraint, duckdb.ErrorTypeConversion, duckdb.ErrorTypeOutOfRange,
		duckdb.ErrorTypeMismatchType, duckdb.ErrorTypeObjectSize, duckdb.ErrorTypeInvalidInput:
		return connector.AsPermanent(err)
	case duckdb.ErrorTypeTransaction:
		return connector.AsTransient(err)
	default:
		return connector.AsUnavailable(err) // the table, the file or the machine
	}
}
