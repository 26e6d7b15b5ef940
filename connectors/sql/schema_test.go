package sql

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

func TestCheckNamesAllThatDoesNotFit(t *testing.T) {
	t.Parallel()
	dsn, db := database(t, 0)
	exec(t, db, `CREATE TABLE policies (ID TEXT, subject TEXT, version BLOB)`, `CREATE UNIQUE INDEX some ON policies (id) WHERE subject = ''`)
	tables := []connector.Named[Table]{policies(), rules("policy_rules", true)}
	c := newConnector(t, Config{DSN: dsn, Tables: tables})
	t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
	_, pushed := c.Push(t.Context(), prepared(t, c, change{key: "a", deleted: true}))
	for _, err := range []error{c.Check(t.Context()), pushed} {
		require.ErrorContains(t, err, `check tables: table "policies" has no column "title": ALTER TABLE "policies" ADD COLUMN "title" TEXT; `+
			`column "version" of table "policies" is BLOB, its values need INTEGER; `+
			`table "policies" has no primary key or unique index on exactly ["id"]; table "policy_rules" does not exist: `+
			`CREATE TABLE "policy_rules" ("policy_id" TEXT NOT NULL, "no" INTEGER NOT NULL, "text" TEXT, PRIMARY KEY ("policy_id", "no"))`)
		require.Equal(t, connector.Unavailable, connector.Classify(err), "nothing is wrong with the policy")
	}

	exec(t, db, `DROP TABLE policies`)
	creating := newConnector(t, Config{DSN: dsn, Tables: tables, Schema: schemaCreate})
	t.Cleanup(func() { require.NoError(t, creating.Close(t.Context())) })
	require.NoError(t, creating.Check(t.Context()))
	held, err := creating.Inspect(t.Context(), []string{"a"})
	require.NoError(t, err)
	require.Empty(t, held)
	require.Empty(t, dump(t, db, `SELECT name FROM sqlite_schema`), "a check changes nothing")
}

// What each value of schema lets the connector do about a table without a column.
func TestSchemaEvolves(t *testing.T) {
	t.Parallel()
	for schema, mended := range map[string]bool{schemaCheck: false, schemaCreate: false, schemaEvolve: true} {
		dsn, db := database(t, 0)
		exec(t, db, `CREATE TABLE policies (id TEXT PRIMARY KEY, version INTEGER)`, `INSERT INTO policies VALUES ('old', 1)`)
		c := newConnector(t, Config{DSN: dsn, Tables: []connector.Named[Table]{policies()}, Schema: schema})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		_, err := c.Push(t.Context(), prepared(t, c, change{key: "a", version: 1, offset: 1, fields: object("id", "a", "title", "t")}))
		if !mended {
			require.ErrorContains(t, err, `ALTER TABLE "policies" ADD COLUMN "title" TEXT`)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, []string{"a t", "old <nil>"}, dump(t, db, `SELECT id, title FROM policies ORDER BY id`))
	}
}

// A table that goes while the target runs holds the target, and says why; nothing
// becomes a dead letter.
func TestTableDroppedWhileRunning(t *testing.T) {
	t.Parallel()
	dsn, db := database(t, 0)
	create := `CREATE TABLE policies (id TEXT PRIMARY KEY, title TEXT, version INTEGER)`
	exec(t, db, create)
	c := newConnector(t, Config{DSN: dsn, Tables: []connector.Named[Table]{policies()}})
	t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
	push := func() error {
		_, err := c.Push(t.Context(), prepared(t, c, change{key: "a", version: 1, offset: 1, fields: object("id", "a", "title", "t")}))
		return err
	}
	require.NoError(t, push())
	exec(t, db, `DROP TABLE policies`)
	for _, want := range []string{"no such table: policies", `check tables: table "policies" does not exist: CREATE TABLE "policies"`} {
		err := push()
		require.ErrorContains(t, err, want)
		require.Equal(t, connector.Unavailable, connector.Classify(err))
	}
	exec(t, db, create)
	require.NoError(t, push())
}

func TestColumnTypes(t *testing.T) {
	t.Parallel()
	logical := func(kind event.Kind, name string) *event.Type {
		return &event.Type{Kind: kind, Logical: name, Precision: 12, Scale: 2}
	}
	all := map[string]*event.Type{
		"text": {Kind: event.String}, "enum": {Kind: event.Enum}, "uuid": logical(event.String, event.LogicalUUID),
		"boolean": {Kind: event.Boolean}, "int": {Kind: event.Int}, "long": {Kind: event.Long}, "double": {Kind: event.Double},
		"bytes": {Kind: event.Bytes}, "fee": logical(event.Bytes, event.LogicalDecimal), "day": logical(event.Int, event.LogicalDate),
		"clock": logical(event.Long, event.LogicalTimeMicros), "at": logical(event.Long, event.LogicalTimestampMillis),
		"local": logical(event.Long, event.LogicalLocalMicros), "rec": {Kind: event.Rec}, "list": {Kind: event.Array}, "": nil,
	}
	for dialect, columns := range map[dialect]map[string]string{
		postgres{}: {
			"character varying(200)": "text enum uuid boolean int long double fee day clock at local rec list", "text": "text enum uuid boolean int long double fee day clock at local rec list", "uuid": "*",
			"boolean": "boolean", "integer": "int long", "numeric": "int long double fee", "numeric(12,2)": "int long double fee", "numeric(11,2)": "int long double",
			"numeric(12,1)": "int long double", "double precision": "int long double", "bytea": "bytes", "date": "text enum uuid day",
			"timestamp(3) with time zone": "text enum uuid at local day", "timestamp without time zone": "text enum uuid at local day",
			"time without time zone": "text enum uuid clock", "jsonb": "text enum uuid rec list", "mood": "*", "int8range": "*", "text[]": "*",
		},
		mysql{}: {
			"tinyint(1)": "boolean int long", "bigint(20) unsigned": "boolean int long", "datetime(6)": "text enum uuid at local day",
			"longtext": "text enum uuid boolean int long double fee day clock at local rec list", "enum('a','b')": "text enum uuid boolean int long double fee day clock at local rec list",
		},
		sqlite{}: {"INTEGER": "boolean int long", "TEXT": "text enum uuid boolean int long double fee day clock at local rec list", "": "*"},
	} {
		for name, want := range columns {
			for kind, values := range all {
				held := parseType(name).holds(values, dialect.traits().types.of(values, false))
				expected := want == "*" || values == nil || slices.Contains(strings.Fields(want), kind)
				require.Equal(t, expected, held, "%T: %s values in a column %q", dialect, kind, name)
			}
		}
	}
}

func TestTellsHowToCreateTheTableOfGuards(t *testing.T) {
	t.Parallel()
	dsn, db := database(t, 0)
	exec(t, db, `CREATE TABLE policies (id TEXT PRIMARY KEY, title TEXT, version INTEGER)`)
	text, err := dsn.Reveal()
	require.NoError(t, err)
	c := newConnector(t, Config{DSN: connector.NewSecret(text + "&_pragma=query_only(1)"), Tables: []connector.Named[Table]{policies()}})
	t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
	_, err = c.Push(t.Context(), prepared(t, c, change{key: "a", deleted: true}))
	require.ErrorContains(t, err, `change schema: table "policysync_versions" does not exist: `)
	require.ErrorContains(t, err, `; run it yourself: CREATE TABLE "policysync_versions" ("target" TEXT NOT NULL, `)
	require.Equal(t, connector.Unavailable, connector.Classify(err))
}

// everyKind is a value of each kind, with its type and what it looks like as text
// in SQLite.
func everyKind() (names []string, types map[string]*event.Type, values *event.Object) {
	types, values = map[string]*event.Type{}, &event.Object{}
	add := func(name string, t *event.Type, v any) {
		types[name] = t
		values.Add(name, v)
	}
	moment := time.Date(2026, 2, 28, 23, 59, 58, 123456000, time.FixedZone("", 3600))
	add("id", &event.Type{Kind: event.String}, "p1")
	add("flag", &event.Type{Kind: event.Boolean}, true)
	add("count", &event.Type{Kind: event.Union, Branches: []*event.Type{{Kind: event.Null}, {Kind: event.Long}}}, int64(math.MaxInt64))
	add("ratio", &event.Type{Kind: event.Double}, 0.1)
	add("raw", &event.Type{Kind: event.Bytes}, []byte{0, 255})
	add("at", &event.Type{Kind: event.Long, Logical: event.LogicalTimestampMicros}, moment)
	add("day", &event.Type{Kind: event.Int, Logical: event.LogicalDate}, event.Date(20512))
	add("clock", &event.Type{Kind: event.Int, Logical: event.LogicalTimeMillis}, 90*time.Minute)
	add("fee", &event.Type{Kind: event.Bytes, Logical: event.LogicalDecimal, Precision: 20, Scale: 2},
		event.Decimal{Unscaled: big.NewInt(1234567890123456790), Scale: 2})
	add("list", &event.Type{Kind: event.Array}, []any{object("z", int64(1), "a", "ü'\\")})
	add("nothing", nil, nil)
	return values.Names, types, values
}

// kindsTable maps each of them to a column.
func kindsTable() connector.Named[Table] {
	names, types, _ := everyKind()
	t := Table{Key: []string{"id", "day"}, Map: &connector.Tree{}}
	for _, name := range names {
		tree := path("event."+name, "")
		tree.Expr.Type = types[name]
		t.Map.Fields = append(t.Map.Fields, connector.Branch{Name: name, Tree: tree})
	}
	return connector.Named[Table]{Name: "kinds", Value: t}
}

func TestCreatesTablesForEveryKind(t *testing.T) {
	t.Parallel()
	dsn, db := database(t, 0)
	c := newConnector(t, Config{DSN: dsn, Tables: []connector.Named[Table]{kindsTable()}, Schema: schemaCreate})
	t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
	_, _, values := everyKind()
	_, err := c.Push(t.Context(), prepared(t, c, change{key: "k", version: 1, offset: 1, fields: values}))
	require.NoError(t, err)
	want := []string{"p1 1 9223372036854775807 0.1 \x00\xff 2026-02-28T22:59:58.123456Z 2026-02-28 01:30:00 12345678901234567.90 " +
		`[{"z":1,"a":"ü'\\"}] <nil>`}
	require.Empty(t, cmp.Diff(want, dump(t, db, `SELECT id, flag, count, ratio, raw, at, day, clock, fee, list, "nothing" FROM kinds`)), "(-want +got)")

	_, err = c.Push(t.Context(), prepared(t, c, change{key: "k", offset: 2, deleted: true}))
	require.NoError(t, err)
	require.Empty(t, dump(t, db, `SELECT id FROM kinds`), "a row is found by a key of two kinds")
}

func TestPrepareRefuses(t *testing.T) {
	t.Parallel()
	dsn, _ := database(t, 0)
	c := newConnector(t, Config{DSN: dsn, Tables: []connector.Named[Table]{policies(), rules("policy_rules", true)}})
	t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
	rule := func(no any) any { return object("no", no, "text", "") }
	for want, fields := range map[string]*event.Object{
		`make rows of table "policies": a key column is null: "id"`:                                  object("id", nil),
		`make rows of table "policies": column "title": NaN is no number that the database can hold`: object("id", "a", "title", math.NaN()),
		`make rows of table "policy_rules": event.rules: want a list, got string`:                    object("id", "a", "rules", "none"),
		`make rows of table "policy_rules": a key column is null: "no"`:                              object("id", "a", "rules", []any{rule(nil)}),
		`make rows of table "policy_rules": two rows have the key ["a",1]`:                           object("id", "a", "rules", []any{rule(int64(1)), rule(int64(1))}),
	} {
		err := c.Prepare(change{key: "a", version: 1, fields: fields}.delivery())
		require.EqualError(t, err, want)
		require.Equal(t, connector.Permanent, connector.Classify(err))
	}
	text, err := prepared(t, c, change{key: "a", version: 3, fields: object("id", "a", "rules", []any{rule(int64(1))})}).Document.(*document).MarshalJSON()
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(`{"policies":[{"id":"a","title":null,"version":3}],"policy_rules":[{"policy_id":"a","no":1,"text":""}]}`, string(text)), "columns keep their order (-want +got)")
}

func TestClassify(t *testing.T) {
	t.Parallel()
	state := func(code string) error { return fmt.Errorf("write: %w", &pgconn.PgError{Code: code}) }
	number := func(n uint16, state string) error {
		e := &mysqldriver.MySQLError{Number: n}
		copy(e.SQLState[:], state)
		return fmt.Errorf("write: %w", e)
	}
	for _, c := range []struct {
		name    string
		dialect dialect
		err     error
		want    connector.Class
	}{
		{"unique violation", postgres{}, state("23505"), connector.Permanent},
		{"numeric value out of range", postgres{}, state("22003"), connector.Permanent},
		{"undefined column", postgres{}, state("42703"), connector.Unavailable},
		{"raise exception", postgres{}, state("P0001"), connector.Permanent},
		{"deadlock", postgres{}, state("40P01"), connector.Transient},
		{"serialization", postgres{}, state("40001"), connector.Transient},
		{"lock not available", postgres{}, state("55P03"), connector.Transient},
		{"insufficient privilege", postgres{}, state("42501"), connector.Unavailable},
		{"invalid password", postgres{}, state("28P01"), connector.Unavailable},
		{"too many connections", postgres{}, state("53300"), connector.Unavailable},
		{"admin shutdown", postgres{}, state("57P01"), connector.Unavailable},
		{"standby", postgres{}, state("25006"), connector.Unavailable},
		{"duplicate entry", mysql{}, number(1062, "23000"), connector.Permanent},
		{"data too long", mysql{}, number(1406, "22001"), connector.Permanent},
		{"incorrect value", mysql{}, number(1366, "HY000"), connector.Permanent},
		{"no such table", mysql{}, number(1146, "42S02"), connector.Unavailable},
		{"signal", mysql{}, number(1644, "45000"), connector.Permanent},
		{"packet too large", mysql{}, mysqldriver.ErrPktTooLarge, connector.Permanent},
		{"deadlock", mysql{}, number(1213, "40001"), connector.Transient},
		{"lock wait timeout", mysql{}, number(1205, "HY000"), connector.Transient},
		{"access denied", mysql{}, number(1045, "28000"), connector.Unavailable},
		{"table access denied", mysql{}, number(1142, "42000"), connector.Unavailable},
		{"too many connections", mysql{}, number(1040, "08004"), connector.Unavailable},
		{"read only", mysql{}, number(1290, "HY000"), connector.Unavailable},
		{"connection lost", mysql{}, mysqldriver.ErrInvalidConn, connector.Unavailable},
	} {
		t.Run(fmt.Sprintf("%T/%s", c.dialect, c.name), func(t *testing.T) {
			t.Parallel()
			class, ok := c.dialect.classify(c.err)
			require.True(t, ok)
			require.Equal(t, c.want, class)
		})
	}
	_, ok := mysql{}.classify(errors.New("something else"))
	require.False(t, ok)
}

func FuzzRowKeys(f *testing.F) {
	kept, err := rowKeys{"policies": {
		"i": int64(math.MinInt64), "f": 2.0, "s": "1", "b": true, "raw": blob("\x00\xff"), "null": nil,
	}}.text()
	require.NoError(f, err)
	f.Add(kept)
	f.Add(`{"t": {"id": {"base64": 1}, "x": [null, 1e400]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var keys, again rowKeys
		if json.Unmarshal([]byte(text), &keys) != nil {
			return
		}
		printed, err := keys.text()
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal([]byte(printed), &again))
		require.Empty(t, cmp.Diff(keys, again), "what is kept reads back the same")
	})
}
