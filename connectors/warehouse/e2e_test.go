//go:build e2e

package warehouse

import (
	"context"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	diff "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
	"github.com/hms-sme/policysync/pkg/event"
)

// e2eServer connects to the server under test and makes an empty database there.
func e2eServer(t *testing.T, database string) (driver.Conn, *url.URL) {
	t.Helper()
	dsn, err := url.Parse(os.Getenv("POLICYSYNC_E2E_CLICKHOUSE"))
	require.NoError(t, err)
	require.NotEmpty(t, dsn.Host, "POLICYSYNC_E2E_CLICKHOUSE is the server's DSN")
	opts, err := clickhouse.ParseDSN(dsn.String())
	require.NoError(t, err)
	conn, err := clickhouse.Open(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	require.NoError(t, conn.Exec(t.Context(), "DROP DATABASE IF EXISTS "+quote(database)))
	require.NoError(t, conn.Exec(t.Context(), "CREATE DATABASE "+quote(database)))
	dsn.Path = "/" + database
	return conn, dsn
}

// line carries connections to a server, and can be cut and stalled.
type line struct {
	net.Listener
	server string
	// mu guards what follows: the copying goroutines and the test both use it.
	mu      sync.Mutex
	cut     bool
	stalled chan struct{}
	ends    []net.Conn
	copies  sync.WaitGroup
}

func newLine(t *testing.T, server string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &line{Listener: listener, server: server}
	l.copies.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			l.carry(client)
		}
	})
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		l.setCut(true)
		l.copies.Wait()
	})
	return l
}

func (l *line) carry(client net.Conn) {
	server, err := net.Dial("tcp", l.server)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || l.cut {
		_ = client.Close()
		if server != nil {
			_ = server.Close()
		}
		return
	}
	l.ends = append(l.ends, client, server)
	l.copies.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	l.copies.Go(func() {
		_, _ = io.Copy(gate{l, server}, client)
		_ = server.Close()
	})
}

// gate lets bytes through to the server until the line is stalled.
type gate struct {
	line   *line
	server net.Conn
}

func (g gate) Write(b []byte) (int, error) {
	g.line.mu.Lock()
	stalled := g.line.stalled
	g.line.mu.Unlock()
	if stalled == nil {
		return g.server.Write(b)
	}
	select {
	case stalled <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (l *line) stall() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stalled = make(chan struct{}, 1)
	return l.stalled
}

func (l *line) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for _, end := range l.ends {
		_ = end.Close() // the other side may have closed it
	}
	l.ends = nil
}

func TestE2EClickHouseConformance(t *testing.T) {
	const database = "conformance"
	connectortest.Run(t, connectortest.Harness{
		Secrets: []string{"hidden-setting"},
		New: func(t *testing.T) connectortest.System {
			server, dsn := e2eServer(t, database)
			l := newLine(t, dsn.Host)
			dsn.Host = l.Addr().String()
			w := newWarehouse(t, &Config{DSN: connector.NewSecret(dsn.String()), Map: recordColumns(), Schema: schemaCreate})
			return connectortest.System{
				Connector: w,
				Applied: func(t *testing.T) map[string]connectortest.Record {
					held := map[string]connectortest.Record{}
					rows, err := server.Query(t.Context(), "SELECT name FROM system.tables WHERE database = '"+database+"'")
					require.NoError(t, err)
					exists := rows.Next()
					require.NoError(t, rows.Err())
					require.NoError(t, rows.Close())
					if !exists {
						return held
					}
					rows, err = server.Query(t.Context(), "SELECT _key, title, version FROM "+database+".data_warehouse_latest")
					require.NoError(t, err)
					defer func() { require.NoError(t, rows.Close()) }()
					for rows.Next() {
						var key string
						var title *string
						var version *int64
						require.NoError(t, rows.Scan(&key, &title, &version))
						require.NotContains(t, held, key, "a key is in the view once")
						held[key] = connectortest.Record{Title: *title, Version: *version}
					}
					require.NoError(t, rows.Err())
					return held
				},
				Fail: map[connector.Class]func(*testing.T) func(){
					connector.Unavailable: func(*testing.T) func() {
						l.setCut(true)
						return func() { l.setCut(false) }
					},
				},
				Stall: func(*testing.T) <-chan struct{} { return l.stall() },
			}
		},
	})
}

func TestE2EClickHouseLatest(t *testing.T) {
	server, dsn := e2eServer(t, "latest")
	w := closeAfter(t, newWarehouse(t, &Config{DSN: connector.NewSecret(dsn.String()), Map: recordColumns(), Schema: schemaCreate}))
	pushAll(t.Context(), t, w, [][]change{{{key: "a", topicID: 1}}})
	rapid.Check(t, func(t *rapid.T) {
		ctx := t.Context()
		require.NoError(t, server.Exec(ctx, "TRUNCATE TABLE latest.data_warehouse"))
		history, batches := drawHistory(t)
		pushAll(ctx, t, w, batches)
		read := func() map[string]string {
			rows, err := server.Query(ctx, "SELECT _key, title FROM latest.data_warehouse_latest")
			require.NoError(t, err)
			defer func() { require.NoError(t, rows.Close()) }()
			got := map[string]string{}
			for rows.Next() {
				var key string
				var title *string
				require.NoError(t, rows.Scan(&key, &title))
				require.NotContains(t, got, key, "a key is in the view once")
				got[key] = *title
			}
			require.NoError(t, rows.Err())
			return got
		}
		require.Empty(t, diff.Diff(newest(history), read()), "before parts are merged")
		// A merge already under way makes this a no-op; FINAL reads what merges lead to.
		require.NoError(t, server.Exec(ctx, "OPTIMIZE TABLE latest.data_warehouse FINAL"))
		require.Empty(t, diff.Diff(newest(history), read()), "after")
		var rows uint64
		require.NoError(t, server.QueryRow(ctx, "SELECT count() FROM latest.data_warehouse FINAL").Scan(&rows))
		require.EqualValues(t, len(history), rows, "repeats collapse")
	})
}

func TestE2EClickHouseTypes(t *testing.T) {
	server, dsn := e2eServer(t, "types")
	logical := func(kind event.Kind, name string) *event.Type {
		return &event.Type{Kind: kind, Logical: name, Precision: 9, Scale: 2}
	}
	at := time.Date(2026, 2, 3, 4, 5, 6, 789_000_000, time.UTC)
	columns := []struct {
		name string
		typ  *event.Type
		v    any
		want string
	}{
		{"yes", &event.Type{Kind: event.Boolean}, true, "1"},
		{"small", &event.Type{Kind: event.Int}, int64(-7), "-7"},
		{"large", &event.Type{Kind: event.Long}, int64(1) << 62, "4611686018427387904"},
		{"ratio", &event.Type{Kind: event.Double}, 0.25, "0.25"},
		{"fee", logical(event.Bytes, event.LogicalDecimal), event.Decimal{Unscaled: big.NewInt(-1230), Scale: 2}, "-12.30"},
		{"effective", logical(event.Int, event.LogicalDate), event.Date(20_000), "2024-10-04"},
		{"changed", logical(event.Long, event.LogicalTimestampMillis), at, ""},
		{"rules", &event.Type{Kind: event.Array}, []any{int64(1), "two"}, `[1,"two"]`},
		{"unknown", nil, "Weekend Inspections", "Weekend Inspections"},
		{"missing", &event.Type{Kind: event.Long}, nil, ""},
	}
	cfg := &Config{DSN: connector.NewSecret(dsn.String()), Map: &connector.Tree{}, Schema: schemaCreate, OrderBy: []string{"small"}}
	value := &event.Object{}
	for _, c := range columns {
		cfg.Map.Fields = append(cfg.Map.Fields, connector.Branch{Name: c.name, Tree: leaf(c.name, c.typ)})
		value.Add(c.name, c.v)
	}
	w := closeAfter(t, newWarehouse(t, cfg))
	d, gone := upsert(value), upsert(nil)
	gone.Op, gone.Event.Record.Value, gone.Event.Offset = connector.Delete, nil, 0
	for _, d := range []*connector.Delivery{d, gone} {
		require.NoError(t, w.Prepare(d))
		_, err := w.Push(t.Context(), d)
		require.NoError(t, err)
	}
	for _, c := range columns {
		var got, columnType string
		require.NoError(t, server.QueryRow(t.Context(), fmt.Sprintf(
			"SELECT ifNull(toString(%s), ''), toTypeName(%s) FROM types.data_warehouse_latest", c.name, c.name)).
			Scan(&got, &columnType))
		if c.name == "changed" {
			name, _ := bareType(columnType)
			c.want = map[string]string{"Int64": "1770091506789000", "DateTime64": "2026-02-03 04:05:06.789000"}[name]
		}
		require.Equal(t, c.want, got, "%s %s", c.name, columnType)
	}
}

func TestE2EClickHouseRefuses(t *testing.T) {
	_, dsn := e2eServer(t, "refuses")
	d := upsert(&event.Object{})
	for name, change := range map[string]func(*url.URL){
		"unknown database": func(u *url.URL) { u.Path = "/nowhere" },
		"credentials":      func(u *url.URL) { u.User = url.UserPassword("nobody", "hidden") },
	} {
		t.Run(name, func(t *testing.T) {
			wrong := *dsn
			change(&wrong)
			w := closeAfter(t, newWarehouse(t, &Config{DSN: connector.NewSecret(wrong.String()), Schema: schemaCreate}))
			require.NoError(t, w.Prepare(d))
			_, err := w.Push(t.Context(), d)
			require.Equal(t, connector.Unavailable, connector.Classify(err), "%v", err)
			exception := (*clickhouse.Exception)(nil)
			require.ErrorAs(t, err, &exception, "the server said no")
			require.NotContains(t, err.Error(), "hidden")
			require.Equal(t, connector.Unavailable, connector.Classify(w.Check(context.WithoutCancel(t.Context()))))
		})
	}
}

// A new column of the map, on a table with rows of before.
func TestE2EClickHouseEvolves(t *testing.T) {
	server, dsn := e2eServer(t, "evolves")
	push := func(schema string, columns *connector.Tree) error {
		w := newWarehouse(t, &Config{DSN: connector.NewSecret(dsn.String()), Map: columns, Schema: schema})
		defer w.Close(t.Context())
		d := upsert(&event.Object{Names: []string{"title", "version"}, Values: []any{"a", int64(1)}})
		require.NoError(t, w.Prepare(d))
		checked := w.Check(t.Context())
		_, err := w.Push(t.Context(), d)
		require.Equal(t, checked == nil, err == nil, "the check foretells the push")
		return err
	}
	require.NoError(t, push(schemaCreate, &connector.Tree{Fields: recordColumns().Fields[:1]}))
	require.ErrorContains(t, push(schemaCreate, recordColumns()), "ALTER TABLE \"data_warehouse\" ADD COLUMN \"version\" Nullable(Int64)")
	require.NoError(t, push(schemaEvolve, recordColumns()))
	var version *int64
	require.NoError(t, server.QueryRow(t.Context(), "SELECT version FROM evolves.data_warehouse_latest").Scan(&version))
	require.EqualValues(t, 1, *version)
}
