//go:build !duckdb || !cgo

package warehouse

import "errors"

const hasDuckDB = false

// openDuckDB is never reached: checkDSN has refused the scheme.
func openDuckDB(string) (engine, error) { return nil, errors.ErrUnsupported }
