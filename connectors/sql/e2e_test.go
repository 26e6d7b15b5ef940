//go:build e2e

package sql

import (
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
	"github.com/hms-sme/policysync/pkg/event"
)

// server is a real database, given by the DSN in an environment variable.
type server struct {
	dsn *url.URL
	dialect
	// lock is a statement that makes writers of policies wait until it is undone.
	lock string
	// refuse makes policies refuse every row, until accept.
	refuse, accept string
}

// each runs a test on every server that the environment names.
func each(t *testing.T, run func(*testing.T, server)) {
	t.Helper()
	for variable, s := range map[string]server{
		"POLICYSYNC_E2E_POSTGRES": {
			lock:   `LOCK TABLE policies IN ACCESS EXCLUSIVE MODE`,
			refuse: `ALTER TABLE policies ADD CONSTRAINT closed CHECK (version < 0) NOT VALID`, accept: `ALTER TABLE policies DROP CONSTRAINT closed`,
		},
		"POLICYSYNC_E2E_MYSQL": {
			lock:   `LOCK TABLES policies WRITE`,
			refuse: `CREATE TRIGGER closed BEFORE INSERT ON policies FOR EACH ROW SIGNAL SQLSTATE '45000'`, accept: `DROP TRIGGER closed`,
		},
	} {
		t.Run(variable, func(t *testing.T) {
			text := os.Getenv(variable)
			if text == "" {
				t.Skipf("%s is not set", variable)
			}
			var err error
			s.dsn, s.dialect, err = parseDSN(text)
			require.NoError(t, err)
			run(t, s)
		})
	}
}

// fresh makes an empty database and returns its DSN and a connection to it.
func (s server) fresh(t *testing.T) (*url.URL, *sql.DB) {
	t.Helper()
	connect := func(dsn *url.URL) *sql.DB {
		c, err := s.open(dsn, nil)
		require.NoError(t, err)
		return sql.OpenDB(c)
	}
	admin := connect(s.dsn)
	name := fmt.Sprintf("e2e_%d", time.Now().UnixNano())
	exec(t, admin, `CREATE DATABASE `+name)
	dsn := *s.dsn
	dsn.Path = "/" + name
	db := connect(&dsn)
	t.Cleanup(func() {
		require.NoError(t, db.Close())
		exec(t, admin, `DROP DATABASE `+name)
		require.NoError(t, admin.Close())
	})
	return &dsn, db
}

// line is the network between the connector and the database; it can be cut.
type line struct {
	net.Listener
	to    string
	mu    sync.Mutex // guards cut and conns: a connection made while it is cut must not live
	cut   bool
	conns []net.Conn
	all   sync.WaitGroup
}

func newLine(t *testing.T, dsn *url.URL) (*line, connector.Secret) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n := &line{Listener: l, to: dsn.Host}
	n.all.Go(n.serve)
	t.Cleanup(func() {
		n.set(true)
		require.NoError(t, l.Close())
		n.all.Wait()
	})
	through := *dsn
	through.Host = l.Addr().String()
	return n, connector.NewSecret(through.String())
}

func (n *line) serve() {
	for {
		in, err := n.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", n.to)
		n.mu.Lock()
		if n.conns = append(n.conns, in); err == nil {
			n.conns = append(n.conns, out)
		}
		if n.cut || err != nil {
			in.Close()
			n.mu.Unlock()
			continue
		}
		n.mu.Unlock()
		n.all.Go(func() { _, _ = io.Copy(in, out); in.Close() })
		n.all.Go(func() { _, _ = io.Copy(out, in); out.Close() })
	}
}

func (n *line) set(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
	for _, c := range n.conns {
		c.Close()
	}
	n.conns = nil
}

const policiesTable = `CREATE TABLE policies (id VARCHAR(100) PRIMARY KEY, title VARCHAR(200) CHECK (title <> '` + connectortest.BadTitle + `'), version BIGINT)`

func TestE2EConformance(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		password, _ := s.dsn.User.Password()
		connectortest.Run(t, connectortest.Harness{
			Guarded: true, RefusesBadTitle: true, Secrets: []string{password},
			New: func(t *testing.T) connectortest.System {
				t.Helper()
				dsn, db := s.fresh(t)
				exec(t, db, policiesTable)
				n, through := newLine(t, dsn)
				return connectortest.System{
					Connector: newConnector(t, Config{DSN: through, Tables: []connector.Named[Table]{policies()}}),
					Applied: func(t *testing.T) map[string]connectortest.Record {
						t.Helper()
						return readPolicies(t, db)
					},
					Fail: map[connector.Class]func(*testing.T) func(){
						connector.Unavailable: func(*testing.T) func() {
							n.set(true)
							return func() { n.set(false) }
						},
						connector.Permanent: func(t *testing.T) func() {
							t.Helper()
							exec(t, db, s.refuse)
							return func() { exec(t, db, s.accept) }
						},
					},
					Stall: func(t *testing.T) <-chan struct{} {
						t.Helper()
						conn, err := db.Conn(t.Context())
						require.NoError(t, err)
						for _, statement := range []string{"BEGIN", s.lock} {
							_, err = conn.ExecContext(t.Context(), statement)
							require.NoError(t, err)
						}
						t.Cleanup(func() { require.NoError(t, conn.Close()) })
						arrived := make(chan struct{})
						close(arrived)
						return arrived
					},
				}
			},
		})
	})
}

func TestE2EEveryKind(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		dsn, db := s.fresh(t)
		c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Tables: []connector.Named[Table]{kindsTable()}, Schema: schemaCreate})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		_, _, values := everyKind()
		for range 2 {
			_, err := c.Push(t.Context(), prepared(t, c, change{key: "k", version: 1, offset: 1, fields: values}))
			require.NoError(t, err)
		}
		query := `SELECT id, flag, count, ratio, raw, at AT TIME ZONE 'UTC' AS at, day, clock, fee, list->0->>'a', nothing FROM kinds`
		want := "p1 true 9223372036854775807 0.1 \x00\xff 2026-02-28 22:59:58.123456 +0000 UTC 2026-02-28 00:00:00 +0000 UTC 01:30:00 12345678901234567.90 ü'\\ <nil>"
		if s.dsn.Scheme == "mysql" {
			query = "SELECT id, flag, `count`, ratio, raw, at, day, clock, fee, JSON_UNQUOTE(JSON_EXTRACT(list, '$[0].a')), nothing FROM kinds"
			want = "p1 1 9223372036854775807 0.1 \x00\xff 2026-02-28 22:59:58.123456 2026-02-28 01:30:00.000000 12345678901234567.90 ü'\\ <nil>"
		}
		require.Empty(t, cmp.Diff([]string{want}, dump(t, db, query)), "(-want +got)")
		_, err := c.Push(t.Context(), prepared(t, c, change{key: "k", offset: 2, deleted: true}))
		require.NoError(t, err)
		require.Empty(t, dump(t, db, query), "a row is found by a key of two kinds")
		require.NoError(t, c.Check(t.Context()))
	})
}

// TestE2EBatchesInParallel pushes batches of distinct keys, each in an order of its
// own, from several connections: they must not deadlock.
func TestE2EBatchesInParallel(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		dsn, db := s.fresh(t)
		tables := []connector.Named[Table]{policies(), rules("policy_rules", true)}
		c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Tables: tables, Schema: schemaCreate})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		const pushers, keys, rounds = 4, 50, 6
		var all sync.WaitGroup
		for p := range pushers {
			all.Go(func() {
				for round := range rounds {
					var batch []*connector.Delivery
					for k := range keys {
						// Neighbouring keys are of different pushers; every other one counts down.
						n := k
						if (p+round)%2 == 1 {
							n = keys - 1 - k
						}
						id := fmt.Sprintf("policy %d", n*pushers+p)
						batch = append(batch, prepared(t, c, change{
							key: id, version: int64(round), offset: int64(round),
							fields: object("id", id, "title", "of round", "rules", []any{
								object("no", int64(0), "text", id), object("no", int64(round+1), "text", id),
							}),
						}))
					}
					for _, r := range c.PushBatch(t.Context(), batch) {
						if r.Err != nil {
							t.Errorf("push batch: %v", r.Err)
							return
						}
					}
				}
			})
		}
		all.Wait()
		require.Equal(t, []string{fmt.Sprint(pushers*keys, " ", rounds-1, " ", pushers*keys*2, " ", rounds)},
			dump(t, db, `SELECT (SELECT COUNT(*) FROM policies), (SELECT MIN(version) FROM policies), (SELECT COUNT(*) FROM policy_rules), (SELECT MAX(no) FROM policy_rules)`))
	})
}

// TestE2ETwoMembersOneKey pushes all versions of a key at once, as a member that
// was fenced off too late does beside the new owner: the newest must stay.
func TestE2ETwoMembersOneKey(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		dsn, db := s.fresh(t)
		cfg := Config{DSN: connector.NewSecret(dsn.String()), Tables: []connector.Named[Table]{policies()}, Schema: schemaCreate}
		members := []*Connector{newConnector(t, cfg), newConnector(t, cfg)}
		t.Cleanup(func() {
			for _, c := range members {
				require.NoError(t, c.Close(t.Context()))
			}
		})
		const versions = 40
		var all sync.WaitGroup
		for i := range versions {
			all.Go(func() {
				c := members[i%len(members)]
				_, err := c.Push(t.Context(), prepared(t, c, change{
					key: "a", version: int64(versions - i), offset: int64(versions - i), fields: object("id", "a", "title", ""),
				}))
				if err != nil {
					t.Errorf("push: %v", err)
				}
			})
		}
		all.Wait()
		require.Equal(t, []string{fmt.Sprint("a  ", versions)}, dump(t, db, `SELECT id, title, version FROM policies`))
	})
}

// TestE2EOtherUniqueIndex proves that a row is never overwritten because it
// collides by another index than the key.
func TestE2EOtherUniqueIndex(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		dsn, db := s.fresh(t)
		exec(t, db, `CREATE TABLE policies (id VARCHAR(100) PRIMARY KEY, title VARCHAR(200) UNIQUE, version BIGINT)`)
		c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Tables: []connector.Named[Table]{policies()}})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		push := func(id string) error {
			_, err := c.Push(t.Context(), prepared(t, c, change{key: id, version: 1, fields: object("id", id, "title", "the same")}))
			return err
		}
		require.NoError(t, push("a"))
		require.NoError(t, push("a"))
		err := push("b")
		require.Equal(t, connector.Permanent, connector.Classify(err), "class of: %v", err)
		require.Equal(t, []string{"a the same 1"}, dump(t, db, `SELECT id, title, version FROM policies`))
	})
}

func TestE2EKeysAreExact(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		dsn, db := s.fresh(t)
		c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Schema: schemaCreate, Tables: []connector.Named[Table]{policies()}})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		keys := []string{"a", "A", "ä", "a/ ", "a/"}
		for i, key := range keys {
			receipt, err := c.Push(t.Context(), prepared(t, c, change{
				key: key, version: int64(len(keys) - i), offset: int64(len(keys) - i), fields: object("id", strconv.Itoa(i), "title", ""),
			}))
			require.NoError(t, err)
			require.False(t, receipt.Stale, "%q is another key", key)
		}
		held, err := c.Inspect(t.Context(), append(keys, "a/  "))
		require.NoError(t, err)
		require.Len(t, held, len(keys))
		require.Len(t, dump(t, db, `SELECT id, title, version FROM policies`), len(keys))
	})
}

func TestE2EProcedure(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		dsn, db := s.fresh(t)
		exec(t, db, policiesTable)
		body := ` BEGIN INSERT INTO policies VALUES (p_id, p_title, 0); IF p_title = 'forbidden' THEN `
		if s.dsn.Scheme == "mysql" {
			exec(t, db, `CREATE PROCEDURE put_policy(p_id VARCHAR(100), p_title VARCHAR(200))`+body+`SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'forbidden'; END IF; END`)
		} else {
			exec(t, db, `CREATE PROCEDURE put_policy(p_id text, p_title text) LANGUAGE plpgsql AS $$`+body+`RAISE EXCEPTION 'forbidden'; END IF; END $$`)
		}
		c := newConnector(t, Config{
			DSN: connector.NewSecret(dsn.String()), Map: columns("id", path("event.id", event.String), "title", path("event.title", event.String)),
			Statement: &Statement{Upsert: `CALL put_policy(:id, :title)`, Delete: `DELETE FROM policies WHERE id = :id`},
		})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		push := func(id, title string) error {
			_, err := c.Push(t.Context(), prepared(t, c, change{key: id, version: 1, offset: 1, fields: object("id", id, "title", title)}))
			return err
		}
		require.NoError(t, push("a", "it's :fine ?"))
		require.NoError(t, push("b", ""))
		require.Equal(t, connector.Permanent, connector.Classify(push("c", "forbidden")))
		_, err := c.Push(t.Context(), prepared(t, c, change{key: "b", offset: 2, deleted: true}))
		require.NoError(t, err)
		require.Equal(t, []string{"a it's :fine ? 0"}, dump(t, db, `SELECT id, title, version FROM policies`))
	})
}

func TestE2EWrongPasswordIsUnavailable(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		dsn := *s.dsn
		dsn.User = url.UserPassword(s.dsn.User.Username(), "hunter2")
		c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Tables: []connector.Named[Table]{policies()}})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		err := c.Check(t.Context())
		require.Equal(t, connector.Unavailable, connector.Classify(err), "class of: %v", err)
		require.NotContains(t, err.Error(), "hunter2")
	})
}
