package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver that reads the two databases back
)

// Result is what the demo found out by asking the external systems themselves.
type Result struct {
	// Delivered is the number of confirmed pushes per target.
	Delivered map[string]int64 `json:"delivered"`
	// Lost are events that a target that keeps all of them lacks, and policies of
	// which one that keeps the newest version has another.
	Lost int `json:"lost"`
	// OutOfOrder are events that came to the scheduling API after a later one of
	// their policy.
	OutOfOrder int `json:"out_of_order"`
	// Repeated are events that were applied and came again.
	Repeated int `json:"repeated"`
	// BreakerOpened reports that the breaker of the broken target opened.
	BreakerOpened bool `json:"breaker_opened"`
	// DeadLetters should be none: an outage is no reason for one.
	DeadLetters int64 `json:"dead_letters"`
}

// Sound reports whether every promise that the demo checks was kept.
func (r *Result) Sound() bool {
	return r.Lost == 0 && r.OutOfOrder == 0 && r.DeadLetters == 0 && r.BreakerOpened
}

// check compares what was published with what the external systems hold.
func check(ctx context.Context, p *platform, pub *publisher) (*Result, error) {
	arrived := p.scheduler.Arrivals()
	r := &Result{
		Delivered:  map[string]int64{},
		Lost:       pub.policies - arrived.Applied,
		OutOfOrder: arrived.OutOfOrder,
		Repeated:   arrived.Repeated,
	}
	held, err := readVersions(ctx, filepath.Join(p.dir, "legacy.db"), `SELECT id, version FROM policies`)
	if err != nil {
		return nil, fmt.Errorf("ask the legacy database: %w", err)
	}
	for key, version := range pub.versions {
		if held[key] != version {
			r.Lost++
		}
	}
	rows, err := readVersions(ctx, filepath.Join(p.dir, "warehouse.db"),
		`SELECT 'rows', count(*) FROM policy_history UNION ALL SELECT 'ids', count(DISTINCT _delivery_id) FROM policy_history`)
	if err != nil {
		return nil, fmt.Errorf("ask the data warehouse: %w", err)
	}
	r.Lost += pub.total - int(rows["ids"])
	r.Repeated += int(rows["rows"] - rows["ids"])
	return r, nil
}

// readVersions runs a query of a name and a number.
func readVersions(ctx context.Context, path, query string) (found map[string]int64, err error) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found = map[string]int64{}
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return nil, err
		}
		found[name] = n
	}
	return found, rows.Err()
}
