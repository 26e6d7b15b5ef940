package sql

import (
	"context"
	"database/sql"
	"fmt"
)

// transaction reads what others have committed, and locks and writes until it ends.
type transaction interface {
	// read begins the transaction if it is the first, and hands the rows of a query to
	// each.
	read(ctx context.Context, query *writer, each func(scanner) error) error
	// commit runs the commands in their order and ends the transaction.
	commit(ctx context.Context, commands []command) error
	// rollback undoes what was not committed.
	rollback(ctx context.Context)
}

func (c *Connector) newTransaction() transaction {
	if quicker := c.dialect.traits().transaction; quicker != nil {
		return quicker(c.db)
	}
	return &stepwise{db: c.db}
}

// command is a statement that writes.
type command struct {
	*writer
	// does tells its error what it was for.
	does string
	// rows is how many it inserts; onlyNew is set if none of them may exist.
	rows    int
	onlyNew bool
}

// check compares what a command has done with what it had to do.
func (c command) check(rows int64, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", c.does, err)
	}
	if c.onlyNew && rows != int64(c.rows) {
		return errRaced
	}
	return nil
}

// scanner is what the rows of all drivers share.
type scanner interface {
	Next() bool
	Scan(into ...any) error
	Err() error
}

// stepwise is a transaction that takes a round trip for each statement.
type stepwise struct {
	db *sql.DB
	tx *sql.Tx
}

func (s *stepwise) read(ctx context.Context, query *writer, each func(scanner) error) (err error) {
	if s.tx == nil {
		if s.tx, err = s.db.BeginTx(ctx, nil); err != nil {
			return err
		}
	}
	return readRows(ctx, s.tx, query, each)
}

func readRows(ctx context.Context, q querier, query *writer, each func(scanner) error) error {
	rows, err := q.QueryContext(ctx, query.sql(), query.arguments...) //nolint:rowserrcheck // each does
	if err != nil {
		return err
	}
	defer rows.Close()
	return each(rows)
}

func (s *stepwise) commit(ctx context.Context, commands []command) error {
	for _, c := range commands {
		if err := s.exec(ctx, c); err != nil {
			return err
		}
	}
	if err := s.tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func (s *stepwise) exec(ctx context.Context, c command) error {
	result, err := s.tx.ExecContext(ctx, c.sql(), c.arguments...)
	if err != nil {
		return c.check(0, err)
	}
	return c.check(result.RowsAffected())
}

func (s *stepwise) rollback(context.Context) {
	if s.tx != nil {
		_ = s.tx.Rollback() // after Commit it does nothing, and else its error is that of a dead connection
	}
}
