// Package warehouse is the connector that appends every delivery to a history
// table, one row each, and offers a view of the newest version of each key.
//
// It owns the shape of the table (table.go), the making of rows, and the engines behind
// one small interface: ClickHouse over its native protocol, Parquet files, which every
// other warehouse loads, and the files of DuckDB and SQLite, which need no server. It never updates a row by itself: a repeated delivery is a row
// with the same key and source position, of which the engine keeps the one ingested
// last. What is newest is decided when it is asked, by the view, so deliveries may
// arrive late, twice or in any order. Retries, batches and dead letters belong to
// package delivery.
package warehouse

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

var errClosed = errors.New("warehouse is closed")

// Kind describes the connector: batches of 5,000, since ClickHouse wants few large
// inserts.
func Kind() connector.Kind {
	k := connector.KindOf(func(_ context.Context, cfg *Config, env connector.Env) (connector.Connector, error) {
		return New(cfg, env)
	})
	k.BatchSize, k.BatchLinger = 5000, time.Second
	return k
}

// Warehouse appends deliveries to one history table.
type Warehouse struct {
	cfg   *Config
	table *table
	env   connector.Env
	clock clock

	// life ends with Close, and every attempt with it.
	life context.Context
	end  context.CancelCauseFunc
	// mu guards closed, and the start of calls: one that starts while Close waits for
	// the others would else use an engine that is gone.
	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
	// session is the engine in use, nil until the first attempt, and again after an
	// insert failed: the table may have changed.
	session atomic.Pointer[session]
	// opening holds one token: the right to open or close an engine.
	opening chan struct{}
	// engine and dsn are what was opened last; opening guards them.
	engine engine
	dsn    string
}

// session is an open engine whose table was found to fit.
type session struct {
	engine engine
	dsn    string
	// types are the engine's own types of the table's columns, in their order.
	types   []string
	fitters []fitter
}

// New makes the connector. It does not connect: the first attempt does.
func New(cfg *Config, env connector.Env) (*Warehouse, error) {
	dsn, err := cfg.DSN.Reveal()
	if err != nil {
		return nil, err
	}
	if err := checkDSN(dsn); err != nil {
		return nil, fmt.Errorf("read dsn: %w", err)
	}
	w := &Warehouse{cfg: cfg, table: newTable(cfg, env.Target), env: env, opening: make(chan struct{}, 1)}
	w.life, w.end = context.WithCancelCause(context.Background())
	return w, nil
}

// Prepare makes the row, all but the time of its ingestion. A tombstone's row has
// no mapped values.
func (w *Warehouse) Prepare(d *connector.Delivery) error {
	row, err := w.table.row(d)
	if err != nil {
		return err
	}
	d.Document = row
	return nil
}

// Push appends one row.
func (w *Warehouse) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	r := w.PushBatch(ctx, []*connector.Delivery{d})[0]
	return r.Receipt, r.Err
}

// AppliesBatchInOrder says that a batch may hold several deliveries of one key: each
// is a row of its own, and the view orders them by their versions.
func (w *Warehouse) AppliesBatchInOrder() {}

// PushBatch appends the rows with one insert, which the engine takes whole or not at
// all. A value that its column cannot hold fails that row alone.
func (w *Warehouse) PushBatch(ctx context.Context, ds []*connector.Delivery) []connector.Result {
	ctx, cancel := w.attempt(ctx)
	defer cancel()
	s, err := w.open(ctx)
	if err != nil {
		return connector.FailAll(len(ds), err)
	}
	results := make([]connector.Result, len(ds))
	rows := make([][]any, 0, len(ds))
	ingested := w.clock.next(len(ds))
	for i, d := range ds {
		row, err := s.fit(w.table, d.Document, ingested.Add(time.Duration(i)*time.Microsecond))
		if err != nil {
			results[i].Err = connector.AsPermanent(err)
			continue
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return results
	}
	_, err = await(ctx, w, func() (struct{}, error) {
		return struct{}{}, s.engine.insert(ctx, w.table, rows)
	})
	if err != nil {
		w.session.CompareAndSwap(s, nil)
		return connector.FailAll(len(ds), fmt.Errorf("insert into %s: %w", w.table.name, err))
	}
	return results
}

// Check reports whether the database lets us in and its table has the columns that
// the config maps. A table that the first delivery will create need not exist yet.
func (w *Warehouse) Check(ctx context.Context) error {
	ctx, cancel := w.attempt(ctx)
	defer cancel()
	dsn, err := w.cfg.DSN.Reveal()
	if err != nil {
		return connector.AsUnavailable(err)
	}
	_, err = await(ctx, w, func() (struct{}, error) {
		e, err := openEngine(dsn, w.table, w.env)
		if err != nil {
			return struct{}{}, connector.AsUnavailable(err)
		}
		return struct{}{}, errors.Join(w.check(ctx, e), e.close())
	})
	if err != nil {
		return fmt.Errorf("check %s: %w", w.table.name, err)
	}
	return nil
}

// check reports what the first delivery would not mend.
func (w *Warehouse) check(ctx context.Context, e engine) error {
	found, err := e.columns(ctx, w.table.name)
	if err != nil || len(found) == 0 && w.cfg.creates() {
		return err
	}
	_, missing, cure, err := w.compare(ctx, e)
	if err != nil || len(missing) == 0 || w.cfg.Schema == schemaEvolve && addable(missing) {
		return err
	}
	return w.table.lacks(missing, cure)
}

// compare returns the types of the table's columns, those that it lacks, and the
// statements that add them.
func (w *Warehouse) compare(ctx context.Context, e engine) (types []string, missing []column, cure []string, err error) {
	found, err := e.columns(ctx, w.table.name)
	if err == nil && len(found) == 0 {
		err = connector.AsUnavailable(fmt.Errorf("no table %q", w.table.name))
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if types, missing = w.table.types(found); len(missing) > 0 {
		cure, err = e.evolution(ctx, w.table, missing)
	}
	return types, missing, cure, err
}

// Close ends running attempts, waits for what they left behind and closes the engine.
func (w *Warehouse) Close(ctx context.Context) error {
	w.end(errClosed)
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		w.calls.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		return fmt.Errorf("close warehouse: %w", ctx.Err())
	}
	w.opening <- struct{}{} // an attempt that has ended lets go at once
	defer func() { <-w.opening }()
	if w.engine == nil {
		return nil
	}
	if err := w.engine.close(); err != nil {
		return fmt.Errorf("close warehouse: %w", err)
	}
	return nil
}

// attempt returns a context that ends with ctx or with the connector.
func (w *Warehouse) attempt(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(w.life, func() { cancel(context.Cause(w.life)) })
	return ctx, func() { stop(); cancel(nil) }
}

// open returns the session, and makes one if there is none or the DSN has changed.
func (w *Warehouse) open(ctx context.Context) (*session, error) {
	dsn, err := w.cfg.DSN.Reveal()
	if err != nil {
		return nil, connector.AsUnavailable(err)
	}
	if s := w.session.Load(); s != nil && s.dsn == dsn {
		return s, nil
	}
	if err := w.turn(ctx); err != nil {
		return nil, err
	}
	defer func() { <-w.opening }()
	if s := w.session.Load(); s != nil && s.dsn == dsn {
		return s, nil
	}
	s, err := w.openWith(ctx, dsn, w.settle)
	if err == nil {
		w.session.Store(s)
	}
	return s, err
}

// turn waits for the right to open or close an engine.
func (w *Warehouse) turn(ctx context.Context) error {
	select {
	case w.opening <- struct{}{}:
	case <-ctx.Done():
		return ended(ctx, ctx.Err())
	}
	if ctx.Err() != nil {
		<-w.opening
		return ended(ctx, ctx.Err())
	}
	return nil
}

// openWith makes a session of the types that ask returns.
func (w *Warehouse) openWith(ctx context.Context, dsn string, ask func(context.Context, engine) ([]string, error)) (*session, error) {
	if w.engine == nil || w.dsn != dsn {
		e, err := openEngine(dsn, w.table, w.env)
		if err != nil {
			return nil, connector.AsUnavailable(err)
		}
		if w.engine != nil {
			_ = w.engine.close() // attempts on it fail and come back on the new one
		}
		w.engine, w.dsn = e, dsn
	}
	e := w.engine
	types, err := await(ctx, w, func() ([]string, error) { return ask(ctx, e) })
	if err != nil {
		return nil, fmt.Errorf("open table %s: %w", w.table.name, err)
	}
	s := &session{engine: e, dsn: dsn, types: types, fitters: make([]fitter, len(types))}
	for i, columnType := range types {
		s.fitters[i] = fitterOf(e, columnType)
	}
	return s, nil
}

// settle makes the table and its columns where that is wanted, and returns their
// types.
func (w *Warehouse) settle(ctx context.Context, e engine) ([]string, error) {
	var made error // ClickHouse refuses a view of columns that are not there
	if w.cfg.creates() {
		made = e.create(ctx, w.table)
	}
	types, missing, cure, err := w.compare(ctx, e)
	switch {
	case err != nil:
		return nil, errors.Join(made, err)
	case len(missing) == 0:
		return types, made
	}
	if w.cfg.Schema != schemaEvolve || !addable(missing) {
		return nil, w.table.lacks(missing, cure)
	}
	for _, statement := range cure {
		if failed := e.exec(ctx, statement); failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", statement, failed))
		}
	}
	types, missing, _, again := w.compare(ctx, e)
	if again == nil && len(missing) == 0 {
		// Another member may have been the first to do it, and be about to make the view.
		return types, e.create(ctx, w.table)
	}
	return nil, errors.Join(err, again)
}

// fit turns what Prepare made into the engine's values.
func (s *session) fit(t *table, document any, ingested time.Time) ([]any, error) {
	row, ok := document.(*event.Object)
	if !ok {
		return nil, fmt.Errorf("document is %T, not a row", document)
	}
	values := make([]any, len(t.columns))
	for i, c := range t.columns {
		var v any = ingested
		if i < len(row.Values) {
			v = row.Values[i]
		}
		var err error
		if values[i], err = s.fitters[i](v); err != nil {
			return nil, fmt.Errorf("column %q: %w", c.name, err)
		}
	}
	return values, nil
}

// await runs call, or leaves it behind when ctx ends: neither the handshake of
// ClickHouse's driver nor SQLite's wait for a lock heeds a context. A panic of call is its
// error.
func await[T any](ctx context.Context, w *Warehouse, call func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var o outcome
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return o.value, connector.AsUnavailable(errClosed)
	}
	done := make(chan outcome, 1)
	w.calls.Go(func() {
		var o outcome
		defer func() { done <- o }()
		defer connector.Recovered(&o.err)
		o.value, o.err = call()
	})
	w.mu.Unlock()
	select {
	case o = <-done:
	case <-ctx.Done():
		o.err = ctx.Err()
	}
	if o.err != nil {
		o.err = ended(ctx, o.err)
	}
	return o.value, o.err
}

// ended gives the error of an attempt the reason why its context ended, if it did.
// The deadline of an attempt means that the warehouse was too slow to answer.
func ended(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return err
	case errors.Is(cause, ctx.Err()):
		return connector.AsUnavailable(cause)
	}
	return connector.AsUnavailable(fmt.Errorf("%w: %w", cause, ctx.Err()))
}
