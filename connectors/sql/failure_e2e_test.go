//go:build e2e

package sql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// batch makes n deliveries of policies; title changes one of them.
func batch(t *testing.T, c *Connector, n, version int, titles map[int]any) []*connector.Delivery {
	t.Helper()
	ds := make([]*connector.Delivery, n)
	for i := range ds {
		id := fmt.Sprintf("P-%05d", i)
		title, ok := titles[i]
		if !ok {
			title = fmt.Sprintf("Weekend Inspections v%d", version)
		}
		ds[i] = prepared(t, c, change{key: id, version: int64(version), offset: int64(version*n + i), fields: object("id", id, "title", title)})
	}
	return ds
}

// split pushes as a lane does: a batch that fails whole and for good is halved. It
// returns the errors of single deliveries.
func split(ctx context.Context, t *testing.T, c *Connector, ds []*connector.Delivery) map[string]error {
	t.Helper()
	failed := map[string]error{}
	results := c.PushBatch(ctx, ds)
	if err := results[0].Err; len(ds) > 1 && err != nil {
		require.True(t, connector.FailedWhole(err))
		require.Equal(t, connector.Permanent, connector.Classify(err), "%v", err)
		for _, half := range [][]*connector.Delivery{ds[:len(ds)/2], ds[len(ds)/2:]} {
			maps.Copy(failed, split(ctx, t, c, half))
		}
	} else if err != nil {
		failed[ds[0].Key] = err
	}
	return failed
}

// One bad row in a batch of 1,000 is named, and its neighbours are stored.
func TestE2EBadRow(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		for name, bad := range map[string]struct {
			title any
			want  string
		}{
			"too long": {fmt.Sprintf("%0*d", 201, 7), `title`},
			"null":     {nil, `title`},
			"refused":  {"refused by the target", `write to table "policies"`},
		} {
			t.Run(name, func(t *testing.T) {
				dsn, db := s.fresh(t)
				exec(t, db, `CREATE TABLE policies (id VARCHAR(100) PRIMARY KEY, title VARCHAR(200) NOT NULL CHECK (title <> 'refused by the target'), version BIGINT)`)
				c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Tables: []connector.Named[Table]{policies()}})
				t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
				failed := split(t.Context(), t, c, batch(t, c, 1000, 1, map[int]any{617: bad.title}))
				require.Len(t, failed, 1)
				err := failed["P-00617"]
				t.Log(err)
				require.ErrorContains(t, err, `upsert policy "P-00617": write to table "policies": `)
				require.ErrorContains(t, err, bad.want)
				require.Equal(t, []string{"999"}, dump(t, db, `SELECT COUNT(*) FROM policies`))
			})
		}
	})
}

// What an operator does to a database meanwhile holds the target, and is over when
// it is undone.
func TestE2EHeldTarget(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		readOnly := [2]string{`ALTER DATABASE @db SET default_transaction_read_only = on`, `ALTER DATABASE @db RESET default_transaction_read_only`}
		narrow, wide := `ALTER TABLE policies ALTER COLUMN version TYPE bytea USING NULL`, `ALTER TABLE policies ALTER COLUMN version TYPE bigint USING NULL`
		if s.dsn.Scheme == "mysql" {
			readOnly = [2]string{}
			narrow, wide = `ALTER TABLE policies DROP COLUMN version, ADD COLUMN version DATE`, `ALTER TABLE policies DROP COLUMN version, ADD COLUMN version BIGINT`
		}
		for name, c := range map[string]struct{ do, undo, want string }{
			"dropped table":  {`ALTER TABLE policies RENAME TO gone`, `ALTER TABLE gone RENAME TO policies`, `table "policies" does not exist: CREATE TABLE`},
			"dropped column": {`ALTER TABLE policies DROP COLUMN version`, `ALTER TABLE policies ADD COLUMN version BIGINT`, `table "policies" has no column "version": ALTER TABLE`},
			"read-only":      {readOnly[0], readOnly[1], "read-only"},
			"other type":     {narrow, wide, `column "version" of table "policies" is`},
		} {
			t.Run(name, func(t *testing.T) {
				if c.do == "" {
					t.Skip("a whole server would be read-only")
				}
				dsn, db := s.fresh(t)
				exec(t, db, policiesTable)
				line, through := newLine(t, dsn)
				do := func(statement string) {
					exec(t, db, strings.ReplaceAll(statement, "@db", dsn.Path[1:]))
					line.set(true) // a new connection sees it
					line.set(false)
				}
				conn := newConnector(t, Config{DSN: through, Tables: []connector.Named[Table]{policies()}})
				t.Cleanup(func() { require.NoError(t, conn.Close(t.Context())) })
				push := func(version int) error {
					return conn.PushBatch(t.Context(), batch(t, conn, 1, version, nil))[0].Err
				}
				require.NoError(t, push(1))
				do(c.do)
				var err error
				for range 3 { // the connection that was cut, the table that is gone, the reason
					err = push(2)
					require.Error(t, err)
				}
				t.Log(err)
				require.Equal(t, connector.Unavailable, connector.Classify(err), "%v", err)
				require.ErrorContains(t, err, c.want)
				do(c.undo)
				require.Eventually(t, func() bool { return push(2) == nil }, time.Minute, time.Millisecond)
			})
		}
	})
}

// A connection that breaks in the middle of a batch leaves nothing of it.
func TestE2EConnectionBreaks(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		dsn, db := s.fresh(t)
		exec(t, db, policiesTable)
		line, through := newLine(t, dsn)
		p := policies()
		c := newConnector(t, Config{DSN: through, Tables: []connector.Named[Table]{p}})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		require.NoError(t, c.PushBatch(t.Context(), batch(t, c, 1, 1, nil))[0].Err)

		holder, err := db.Conn(t.Context())
		require.NoError(t, err)
		for _, statement := range []string{"BEGIN", s.lock} {
			_, err = holder.ExecContext(t.Context(), statement)
			require.NoError(t, err)
		}
		failed, ds := make(chan error), batch(t, c, 1000, 2, nil)
		go func() { failed <- c.PushBatch(t.Context(), ds)[0].Err }()
		time.AfterFunc(300*time.Millisecond, func() { line.set(true) }) // it waits for the lock by then; earlier is as good
		err = <-failed
		require.Equal(t, connector.Unavailable, connector.Classify(err), "%v", err)
		_ = holder.Raw(func(any) error { return driver.ErrBadConn }) // closes it, and so gives the lock back
		line.set(false)
		require.Equal(t, []string{"1"}, dump(t, db, `SELECT COUNT(*) FROM policies`))
		require.Eventually(t, func() bool { return c.PushBatch(t.Context(), batch(t, c, 1000, 2, nil))[0].Err == nil }, time.Minute, time.Millisecond)
		require.Equal(t, []string{"1000"}, dump(t, db, `SELECT COUNT(*) FROM policies WHERE version = 2`))
	})
}

// kinds with a type of their own in each database, as an operator finds them.
func TestE2ECreatedTypes(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		dsn, _ := s.fresh(t)
		logical := func(kind event.Kind, name string) *event.Type {
			return &event.Type{Kind: kind, Logical: name, Precision: 12, Scale: 2}
		}
		table := Table{Key: []string{"id", "part"}, VersionColumn: "version", DeletedColumn: "deleted_at", Map: columns(
			"id", path("event.id", event.String), "part", path("event.part", event.Bytes),
			"fee", path("event.fee", ""), "at", path("event.at", ""), "wall", path("event.wall", ""), "day", path("event.day", ""),
			"clock", path("event.clock", ""), "ref", path("event.ref", ""), "status", path("event.status", event.Enum), "tree", path("event.tree", event.Rec),
		)}
		for name, typ := range map[string]*event.Type{
			"fee": logical(event.Bytes, event.LogicalDecimal), "at": logical(event.Long, event.LogicalTimestampMillis), "wall": logical(event.Long, event.LogicalLocalMicros),
			"day": logical(event.Int, event.LogicalDate), "clock": logical(event.Long, event.LogicalTimeMicros), "ref": logical(event.String, event.LogicalUUID),
		} {
			for _, f := range table.Map.Fields {
				if f.Name == name {
					f.Tree.Expr.Type = typ
				}
			}
		}
		c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Schema: schemaCreate, Tables: []connector.Named[Table]{{Name: "kinds", Value: table}}})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		_, err := c.Push(t.Context(), prepared(t, c, change{key: "k", deleted: true}))
		require.NoError(t, err)
		query, _, args := s.describe("", "kinds")
		var want []string
		if s.dsn.Scheme == "mysql" {
			want = []string{
				"id varchar(255)", "part varbinary(255)", "fee decimal(12,2)", "at datetime(6)", "wall datetime(6)", "day date", "clock time(6)", "ref char(36)",
				"status longtext", "tree longtext", "version bigint(20)", "deleted_at datetime(6)",
			}
		} else {
			want = []string{
				"id text", "part bytea", "fee numeric(12,2)", "at timestamp with time zone", "wall timestamp without time zone", "day date",
				"clock time without time zone", "ref uuid", "status text", "tree jsonb", "version bigint", "deleted_at timestamp with time zone",
			}
		}
		pairs, err := c.readPairs(t.Context(), query, args)
		require.NoError(t, err)
		var got []string
		for _, p := range pairs {
			got = append(got, p[0]+" "+p[1])
		}
		require.ElementsMatch(t, want, got)
		require.NoError(t, c.Check(t.Context()), "what was created fits")
	})
}
