package sql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/hms-sme/policysync/pkg/connector"
)

// admission is a delivery that the guard let through, with the keys of the rows
// that the database has before it.
type admission struct {
	delivery *connector.Delivery
	document *document
	prior    rowKeys
}

// push applies the deliveries in one transaction and returns their receipts.
func (c *Connector) push(ctx context.Context, ds []*connector.Delivery) ([]connector.Receipt, error) {
	ctx, cancel := c.bind(ctx)
	defer cancel()
	receipts, err := c.transact(ctx, ds)
	for errors.Is(err, errRaced) { // the other has committed: its guard is seen now
		receipts, err = c.transact(ctx, ds)
	}
	if err == nil {
		return receipts, nil
	}
	err = c.failure(ctx, err)
	if len(ds) == 1 {
		err = fmt.Errorf("%s policy %q: %w", ds[0].Op, ds[0].Key, c.explain(ctx, ds[0], err))
	}
	return nil, err
}

func (c *Connector) transact(ctx context.Context, ds []*connector.Delivery) ([]connector.Receipt, error) {
	types, err := c.fitTables(ctx)
	if err != nil {
		return nil, err
	}
	keys := make([]string, len(ds))
	for i, d := range ds {
		keys[i] = d.Key
	}
	slices.Sort(keys)
	tx := c.newTransaction()
	defer tx.rollback(ctx)
	held := make(map[string]guard, len(ds))
	for part := range slices.Chunk(slices.Compact(keys), maxArguments-1) {
		read := func(rows scanner) error { return scanGuards(rows, held) }
		if err := tx.read(ctx, c.guardQuery(part, true), read); err != nil {
			return nil, fmt.Errorf("read versions: %w", err)
		}
	}
	receipts, admitted, changed, err := admit(held, ds)
	if err != nil {
		return nil, err
	}
	if len(admitted) == 0 {
		return receipts, nil
	}
	rows, err := c.shape.commands(types, admitted)
	if err != nil {
		return nil, err
	}
	if err := tx.commit(ctx, append(c.saveGuards(types[c.guards], held, changed), rows...)); err != nil {
		return nil, err
	}
	return receipts, nil
}

// admit puts the deliveries to the guards, each against what the ones before it
// leave, as if they came one by one.
func admit(held map[string]guard, ds []*connector.Delivery) (
	receipts []connector.Receipt, admitted []admission, changed map[string]guard, err error,
) {
	receipts = make([]connector.Receipt, len(ds))
	admitted, changed = make([]admission, 0, len(ds)), make(map[string]guard, len(ds))
	for i, d := range ds {
		doc, err := documentOf(d)
		if err != nil {
			return nil, nil, nil, err
		}
		next := guardOf(d)
		before, known := changed[d.Key]
		if !known {
			before, known = held[d.Key]
		}
		if known && !before.admits(next) {
			receipts[i].Stale = true
			continue
		}
		prior, err := before.keys(doc)
		if err == nil {
			err = next.place(doc, prior)
		}
		if err != nil {
			return nil, nil, nil, err
		}
		admitted = append(admitted, admission{delivery: d, document: doc, prior: prior})
		changed[d.Key] = next
	}
	return receipts, admitted, changed, nil
}

// failure gives an error its class, and wraps the context's error if that has
// ended: drivers report a cancelled call in many ways.
func (c *Connector) failure(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		if cause := context.Cause(ctx); !errors.Is(ended, cause) {
			ended = fmt.Errorf("%w: %w", ended, cause)
		}
		return connector.AsUnavailable(fmt.Errorf("%w (%w)", err, ended))
	}
	if _, marked := errors.AsType[*connector.Error](err); marked {
		return err
	}
	if class, ok := c.dialect.classify(err); ok {
		if class == connector.Unavailable {
			c.fitted.Store(nil) // the tables may have changed, or be another server's
		}
		return &connector.Error{Class: class, Err: err}
	}
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return connector.AsUnavailable(err)
	}
	return err
}
