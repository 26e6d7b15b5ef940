package warehouse

import (
	"context"
	"fmt"
	"reflect"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"go.opentelemetry.io/otel/trace"

	"github.com/hms-sme/policysync/pkg/connector"
)

const clickhouseScheme = "clickhouse://"

// clickHouse is the engine on a ClickHouse server, over its native protocol.
//
// The table is a ReplacingMergeTree: of the rows with one identity the server keeps
// the one ingested last when it merges parts, and the view picks the same one before.
type clickHouse struct{ conn driver.Conn }

func openClickHouse(dsn string, env connector.Env) (*clickHouse, error) {
	opts, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("read dsn: %w", err)
	}
	if env.Timeout > 0 {
		opts.DialTimeout = env.Timeout
	}
	if env.Concurrency > 0 {
		opts.MaxOpenConns, opts.MaxIdleConns = env.Concurrency, min(env.Concurrency, 8)
	}
	conn, err := clickhouse.Open(opts)
	if err != nil {
		return nil, fmt.Errorf("open clickhouse: %w", err)
	}
	return &clickHouse{conn: conn}, nil
}

func (c *clickHouse) create(ctx context.Context, t *table) error {
	modern, err := c.modern()
	if err != nil {
		return err
	}
	for _, statement := range []string{clickHouseTable(t, modern), clickHouseLatest(t)} {
		if err := c.exec(ctx, statement); err != nil {
			return fmt.Errorf("create: %w", err)
		}
	}
	return nil
}

func (c *clickHouse) evolution(_ context.Context, t *table, missing []column) ([]string, error) {
	modern, err := c.modern()
	if err != nil {
		return nil, err
	}
	var statements []string
	for _, m := range missing {
		statements = append(statements, "ALTER TABLE "+quote(t.name)+" ADD COLUMN "+m.clickHouse(modern))
	}
	return append(statements, "DROP TABLE IF EXISTS "+quote(t.latest()), clickHouseLatest(t)), nil
}

func (c *clickHouse) exec(ctx context.Context, statement string) error {
	return classifyClickHouse(c.conn.Exec(ctx, statement))
}

// modern tells whether the server knows DateTime64, Date32 and asynchronous inserts.
func (c *clickHouse) modern() (bool, error) {
	v, err := c.conn.ServerVersion()
	if err != nil {
		return false, fmt.Errorf("connect: %w", classifyClickHouse(err))
	}
	return v.Version.Major >= 22, nil
}

func (c *clickHouse) columns(ctx context.Context, name string) (map[string]string, error) {
	rows, err := c.conn.Query(ctx,
		"SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = ?", name)
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", classifyClickHouse(err))
	}
	defer func() { _ = rows.Close() }() // Err has what went wrong
	types := map[string]string{}
	for rows.Next() {
		var column, columnType string
		if err := rows.Scan(&column, &columnType); err != nil {
			return nil, fmt.Errorf("read columns: %w", classifyClickHouse(err))
		}
		types[column] = columnType
	}
	return types, classifyClickHouse(rows.Err())
}

func (c *clickHouse) insert(ctx context.Context, t *table, rows [][]any) error {
	modern, err := c.modern()
	if err != nil {
		return err
	}
	ctx, over := whileRunning(ctx)
	defer over()
	options := []clickhouse.QueryOption{clickhouse.WithSpan(trace.SpanContextFromContext(ctx))}
	if modern {
		// A profile that buffers inserts would else acknowledge what a crash loses.
		options = append(options, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	}
	batch, err := c.conn.PrepareBatch(clickhouse.Context(ctx, options...),
		"INSERT INTO "+quote(t.name)+" ("+quote(t.columnNames()...)+")")
	if err != nil {
		return classifyClickHouse(err)
	}
	defer func() { _ = batch.Close() }() // after Send there is nothing to close
	for _, row := range rows {
		if err := batch.Append(row...); err != nil {
			return connector.AsPermanent(err)
		}
	}
	return classifyClickHouse(batch.Send())
}

// whileRunning returns a context that ends with ctx only until over is called. The
// driver's watch over an insert can wake after it, and closes the connection if the
// context has ended by then: another insert has that connection already.
func whileRunning(ctx context.Context) (own context.Context, over func() bool) {
	own = context.WithoutCancel(ctx)
	var cancel context.CancelFunc
	if deadline, ok := ctx.Deadline(); ok {
		own, cancel = context.WithDeadline(own, deadline)
	} else {
		own, cancel = context.WithCancel(own)
	}
	return own, context.AfterFunc(ctx, cancel)
}

func (c *clickHouse) query(ctx context.Context, query string, args []any, each func([]any) error) error {
	rows, err := c.conn.Query(ctx, query, args...)
	if err != nil {
		return classifyClickHouse(err)
	}
	defer func() { _ = rows.Close() }() // Err has what went wrong
	types := rows.ColumnTypes()
	for rows.Next() {
		values := make([]any, len(types))
		for i, t := range types {
			values[i] = reflect.New(t.ScanType()).Interface()
		}
		if err := rows.Scan(values...); err != nil {
			return fmt.Errorf("read row: %w", err)
		}
		if err := each(values); err != nil {
			return err
		}
	}
	return classifyClickHouse(rows.Err())
}

func (c *clickHouse) close() error { return c.conn.Close() }
