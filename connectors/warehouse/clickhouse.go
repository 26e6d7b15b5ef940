package warehouse

import (
	"context"
	"fmt"
	"sync"

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
type clickHouse struct {
	conn driver.Conn
	// calls are the goroutines of await.
	calls sync.WaitGroup
}

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
	return c.await(ctx, func(ctx context.Context) error {
		modern, err := c.modern()
		if err != nil {
			return err
		}
		for _, statement := range []string{clickHouseTable(t, modern), clickHouseLatest(t)} {
			if err := c.conn.Exec(ctx, statement); err != nil {
				return fmt.Errorf("create: %w", err)
			}
		}
		return nil
	})
}

// modern tells whether the server knows DateTime64, Date32 and asynchronous inserts.
func (c *clickHouse) modern() (bool, error) {
	v, err := c.conn.ServerVersion()
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	return v.Version.Major >= 22, nil
}

func (c *clickHouse) columns(ctx context.Context, name string) (map[string]string, error) {
	types := map[string]string{}
	err := c.await(ctx, func(ctx context.Context) error {
		found := map[string]string{}
		rows, err := c.conn.Query(ctx,
			"SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = ?", name)
		if err != nil {
			return fmt.Errorf("read columns: %w", err)
		}
		defer func() { _ = rows.Close() }() // Err has what went wrong
		for rows.Next() {
			var column, columnType string
			if err := rows.Scan(&column, &columnType); err != nil {
				return fmt.Errorf("read columns: %w", err)
			}
			found[column] = columnType
		}
		types = found
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return types, nil
}

func (c *clickHouse) insert(ctx context.Context, t *table, rows [][]any) error {
	return c.await(ctx, func(ctx context.Context) error {
		modern, err := c.modern()
		if err != nil {
			return err
		}
		options := []clickhouse.QueryOption{clickhouse.WithSpan(trace.SpanContextFromContext(ctx))}
		if modern {
			// A profile that buffers inserts would else acknowledge what a crash loses.
			options = append(options, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
		}
		names := append(t.names[:len(t.names):len(t.names)], t.columns[len(t.names)].name)
		batch, err := c.conn.PrepareBatch(clickhouse.Context(ctx, options...),
			"INSERT INTO "+quote(t.name)+" ("+quote(names...)+")")
		if err != nil {
			return err
		}
		defer func() { _ = batch.Close() }() // after Send there is nothing to close
		for _, row := range rows {
			if err := batch.Append(row...); err != nil {
				return connector.AsPermanent(err)
			}
		}
		return batch.Send()
	})
}

// await runs call and returns its error with its class, or the context's as soon as
// that ends: the driver's handshake with a server that does not answer heeds its
// dial timeout alone.
func (c *clickHouse) await(ctx context.Context, call func(context.Context) error) error {
	done := make(chan error, 1)
	c.calls.Go(func() { done <- call(ctx) })
	select {
	case err := <-done:
		return classifyClickHouse(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *clickHouse) close() error { return c.conn.Close() }
