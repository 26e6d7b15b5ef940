// Package sql is the connector to relational databases: PostgreSQL, MySQL or
// MariaDB, and SQLite. It owns the rows made from an event, the transaction that
// writes them, and the guard: a row of the table policysync_versions per policy
// key, which lets no older version over a newer one. It leaves to package delivery
// when a batch is made, split and sent again, and to package mapping what an
// expression means.
package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Kind describes the connector to package config.
func Kind() connector.Kind {
	k := connector.KindOf(New)
	k.BatchSize, k.BatchLinger = 100, 5*time.Millisecond
	return k
}

// Connector writes to one database. Its batches are ordered: one may hold several
// versions of a key.
type Connector struct {
	target  string
	dialect dialect
	db      *sql.DB
	shape   shape
	// schema is of the config; guards is the table of the guards.
	schema string
	guards *table
	log    *slog.Logger
	// fitted is set once the tables were found to fit, or made.
	fitted atomic.Pointer[columnsOf]
	// closed ends with Close, and every push with it.
	closed context.Context
	close  context.CancelCauseFunc
}

// shape is what a target writes: rows of tables, or calls of statements.
type shape interface {
	// document evaluates the expressions of one delivery.
	document(d *connector.Delivery) (*document, error)
	// commands apply what the guard let through, in the order of the deliveries.
	commands(types columnsOf, admitted []admission) ([]command, error)
	// tables are those that must exist, with the columns that they must have.
	tables() []*table
}

// columnsOf are the types of each table's columns, in their order, in the
// database's own words.
type columnsOf map[*table][]string

var errClosed = errors.New("connector is closed")

// New makes the connector. It reads the DSN, but connects only with the first
// push: a database that is down must not keep the process from starting.
func New(_ context.Context, cfg *Config, env connector.Env) (connector.Connector, error) {
	dsn, err := cfg.DSN.Reveal()
	if err != nil {
		return nil, err
	}
	u, d, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	tlsConfig, err := secure(cfg.TLS, u)
	if err != nil {
		return nil, err
	}
	if _, err := d.open(u, tlsConfig); err != nil {
		return nil, err
	}
	c := &Connector{
		target: env.Target, dialect: d, schema: cfg.Schema, guards: newGuardTable(d), log: env.Logger,
		db: sql.OpenDB(&dialer{dsn: cfg.DSN, tls: cfg.TLS, dialect: d}),
	}
	c.closed, c.close = context.WithCancelCause(context.Background())
	if cfg.Statement != nil {
		c.shape = newStatements(d, cfg)
	} else {
		c.shape = newTables(d, cfg.Tables)
	}
	limit := max(env.Concurrency, 1)
	if d.traits().oneWriter {
		limit = 1
	}
	c.db.SetMaxOpenConns(limit)
	c.db.SetMaxIdleConns(limit)
	// After a fail-over the old address may lead to a server that only reads.
	c.db.SetConnMaxLifetime(10 * time.Minute)
	c.db.SetConnMaxIdleTime(time.Minute)
	return c, nil
}

// Prepare implements [connector.Preparer].
func (c *Connector) Prepare(d *connector.Delivery) error {
	doc, err := c.shape.document(d)
	if err == nil {
		doc.keysText, err = doc.keys.text()
	}
	if err != nil {
		return connector.AsPermanent(err)
	}
	d.Document = doc
	return nil
}

// Push implements [connector.Connector].
func (c *Connector) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	receipts, err := c.push(ctx, []*connector.Delivery{d})
	if err != nil {
		return connector.Receipt{}, err
	}
	return receipts[0], nil
}

// PushBatch implements [connector.BatchConnector] in one transaction: all of the
// batch is applied, or nothing.
func (c *Connector) PushBatch(ctx context.Context, ds []*connector.Delivery) []connector.Result {
	receipts, err := c.push(ctx, ds)
	if err != nil {
		return connector.FailAll(len(ds), err)
	}
	results := make([]connector.Result, len(ds))
	for i, r := range receipts {
		results[i].Receipt = r
	}
	return results
}

// AppliesBatchInOrder implements [connector.OrderedBatch].
func (c *Connector) AppliesBatchInOrder() {}

// Close implements [connector.Connector].
func (c *Connector) Close(context.Context) error {
	c.close(errClosed)
	return c.db.Close()
}

// bind returns a context that also ends when the connector is closed.
func (c *Connector) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.closed, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// dialer connects with the DSN and the certificates as they are now, so that rotated
// ones take effect with the next connection.
type dialer struct {
	dsn     connector.Secret
	tls     *connector.TLS
	dialect dialect
}

// Connect implements [driver.Connector].
func (d *dialer) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := d.connect(ctx)
	if err != nil {
		return nil, connector.AsUnavailable(fmt.Errorf("connect: %w", err))
	}
	return conn, nil
}

func (d *dialer) connect(ctx context.Context) (driver.Conn, error) {
	dsn, err := d.dsn.Reveal()
	if err != nil {
		return nil, err
	}
	u, dialect, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	if dialect != d.dialect {
		return nil, errors.New("dsn names another kind of database than at the start")
	}
	tlsConfig, err := secure(d.tls, u)
	if err != nil {
		return nil, err
	}
	c, err := dialect.open(u, tlsConfig)
	if err != nil {
		return nil, err
	}
	return c.Connect(ctx)
}

// Driver implements [driver.Connector]; nothing here asks for it.
func (d *dialer) Driver() driver.Driver { return nil }
