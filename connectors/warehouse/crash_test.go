package warehouse

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
)

// doomedDSN makes a process of the test one that pushes until it is killed.
const doomedDSN = "WAREHOUSE_TEST_DOOMED_DSN"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(doomedDSN); dsn != "" {
		pushForever(dsn)
	}
	goleak.VerifyTestMain(m)
}

// source makes the change at an offset of one log: every seventh is a delete.
func sourceAt(offset int64) change {
	return change{
		key: fmt.Sprintf("P-%d", offset%150), topicID: 1, offset: offset, version: offset, deleted: offset%7 == 0,
		title: fmt.Sprintf("version %d", offset),
	}
}

func deliveriesAt(t require.TestingT, w *Warehouse, from, to int64) []*connector.Delivery {
	var ds []*connector.Delivery
	for offset := from; offset < to; offset++ {
		d := sourceAt(offset).delivery()
		require.NoError(t, w.Prepare(d))
		ds = append(ds, d)
	}
	return ds
}

// pushForever tells the offset below which all is acknowledged.
func pushForever(dsn string) {
	w, err := New(&Config{DSN: connector.NewSecret(dsn), Map: recordColumns(), Schema: schemaCreate},
		connector.Env{Target: "dataWarehouse", Timeout: time.Minute})
	for next := int64(1); err == nil; next += 60 {
		for _, r := range w.PushBatch(context.Background(), deliveriesAt(fatal{}, w, next, next+60)) {
			err = r.Err
		}
		if err == nil {
			fmt.Println(next + 60)
		}
	}
	fatal{}.Errorf("%v", err)
}

// fatal ends a process that is not the test's own.
type fatal struct{}

func (fatal) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format, args...)
	os.Exit(1)
}
func (fatal) FailNow() {}

// killedEngines are the engines that a killed process leaves a file of: how to read
// the offsets of it, and the live records.
var killedEngines = map[string]func(t *testing.T, path string) (map[int64]bool, map[string]connectortest.Record){
	"sqlite": func(t *testing.T, path string) (map[int64]bool, map[string]connectortest.Record) {
		return readDatabase(t, "sqlite", path)
	},
	"duckdb": func(t *testing.T, path string) (map[int64]bool, map[string]connectortest.Record) {
		return readDatabase(t, "duckdb", path)
	},
	"parquet": func(t *testing.T, path string) (map[int64]bool, map[string]connectortest.Record) {
		files := parquetRows(t, filepath.Join(path, "data_warehouse"))
		offsets := map[int64]bool{}
		for _, rows := range files {
			for _, r := range rows {
				offsets[r.Offset] = true
			}
		}
		return offsets, live(files)
	},
}

func readDatabase(t *testing.T, driver, path string) (map[int64]bool, map[string]connectortest.Record) {
	db, err := sql.Open(driver, path)
	require.NoError(t, err)
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT _offset FROM data_warehouse")
	require.NoError(t, err)
	defer rows.Close()
	offsets := map[int64]bool{}
	for rows.Next() {
		var offset int64
		require.NoError(t, rows.Scan(&offset))
		require.False(t, offsets[offset], "a repeat is no second row")
		offsets[offset] = true
	}
	require.NoError(t, rows.Err())
	return offsets, latest(t, db)
}

// A process is killed while it pushes. What it had acknowledged is there, and when
// another has pushed all of it again, in other batches, each engine holds what the
// source says.
func TestKill(t *testing.T) {
	for engine, read := range killedEngines {
		t.Run(engine, func(t *testing.T) {
			if engine == "duckdb" && !hasDuckDB {
				t.Skip("the binary of the test has no DuckDB")
			}
			path := filepath.Join(t.TempDir(), "history")
			doomed := exec.CommandContext(t.Context(), os.Args[0])
			doomed.Env, doomed.Stderr = append(os.Environ(), doomedDSN+"="+engine+"://"+path), os.Stderr
			out, err := doomed.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, doomed.Start())
			var acknowledged int64
			for lines := bufio.NewScanner(out); lines.Scan(); {
				acknowledged, err = strconv.ParseInt(lines.Text(), 10, 64)
				require.NoError(t, err)
				if acknowledged > 1000 {
					require.NoError(t, doomed.Process.Kill())
				}
			}
			require.Error(t, doomed.Wait(), "it was killed")
			require.Greater(t, acknowledged, int64(1000))
			offsets, _ := read(t, path)
			for offset := int64(1); offset < acknowledged; offset++ {
				require.True(t, offsets[offset], "offset %d was acknowledged", offset)
			}

			w := newWarehouse(t, &Config{DSN: connector.NewSecret(engine + "://" + path), Map: recordColumns(), Schema: schemaCreate})
			end, want := acknowledged+500, map[string]connectortest.Record{}
			for next := int64(1); next < end; next += 70 {
				for _, r := range w.PushBatch(t.Context(), deliveriesAt(t, w, next, min(next+70, end))) {
					require.NoError(t, r.Err)
				}
			}
			require.NoError(t, w.Close(t.Context()))
			for offset := int64(1); offset < end; offset++ {
				c := sourceAt(offset)
				want[c.key] = connectortest.Record{Title: c.title, Version: c.version}
				if c.deleted {
					delete(want, c.key)
				}
			}
			offsets, held := read(t, path)
			require.Len(t, offsets, int(end-1))
			require.Empty(t, cmp.Diff(want, held), "what the source says, and what is there")
		})
	}
}
