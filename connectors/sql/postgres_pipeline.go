package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// pipeline is a transaction of PostgreSQL in two round trips, whatever it writes, or
// three where a command has to be checked before the commit: the server takes the
// next statement without being asked to (PostgreSQL documentation, "Pipelining").
type pipeline struct {
	db   *sql.DB
	conn *sql.Conn
	open bool
}

func newPipeline(db *sql.DB) transaction { return &pipeline{db: db} }

func (p *pipeline) read(ctx context.Context, query *writer, each func(scanner) error) (err error) {
	var batch pgx.Batch
	if p.conn == nil {
		if p.conn, err = p.db.Conn(ctx); err != nil {
			return err
		}
		p.open = true
		batch.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	}
	batch.Queue(query.sql(), query.arguments...).Query(func(rows pgx.Rows) error { return each(rows) })
	return p.send(ctx, &batch)
}

func (p *pipeline) commit(ctx context.Context, commands []command) error {
	if slices.ContainsFunc(commands, func(c command) bool { return c.onlyNew }) {
		if err := p.run(ctx, commands); err != nil {
			return err
		}
		commands = nil
	}
	end := command{writer: newWriter(postgres{}).text("COMMIT"), does: "commit"}
	if err := p.run(ctx, append(commands, end)); err != nil {
		return err
	}
	p.open = false
	return nil
}

func (p *pipeline) run(ctx context.Context, commands []command) error {
	var batch pgx.Batch
	for _, c := range commands {
		batch.Queue(c.sql(), c.arguments...).Fn = func(results pgx.BatchResults) error {
			tag, err := results.Exec()
			return c.check(tag.RowsAffected(), err)
		}
	}
	return p.send(ctx, &batch)
}

func (p *pipeline) send(ctx context.Context, batch *pgx.Batch) error {
	return p.native(func(conn *pgx.Conn) error { return conn.SendBatch(ctx, batch).Close() })
}

func (p *pipeline) native(do func(*pgx.Conn) error) error {
	return p.conn.Raw(func(conn any) error {
		c, ok := conn.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("connection is %T, not of pgx", conn)
		}
		return do(c.Conn())
	})
}

func (p *pipeline) rollback(ctx context.Context) {
	if p.conn == nil {
		return
	}
	if p.open {
		_ = p.native(func(conn *pgx.Conn) error {
			if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
				return driver.ErrBadConn // closes it, and so ends its locks
			}
			return nil
		})
	}
	_ = p.conn.Close() // gives it back to the pool
}
