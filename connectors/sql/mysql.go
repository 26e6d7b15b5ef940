package sql

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/hms-sme/policysync/pkg/connector"
)

// mysql is MySQL 5.7 and later, and MariaDB 10.3 and later, with InnoDB tables:
// on others a transaction undoes nothing.
type mysql struct{}

func (mysql) open(dsn *url.URL, secure *tls.Config) (driver.Connector, error) {
	if dsn.Hostname() == "" || strings.Trim(dsn.Path, "/") == "" {
		return nil, errDSN
	}
	// The driver reads its own parameters, in its own form of DSN.
	config, err := mysqldriver.ParseDSN("/?" + dsn.RawQuery)
	if err != nil {
		return nil, errDSN
	}
	port := dsn.Port()
	if port == "" {
		port = "3306"
	}
	config.TLS = secure
	config.Net, config.Addr = "tcp", net.JoinHostPort(dsn.Hostname(), port)
	config.DBName = strings.Trim(dsn.Path, "/")
	config.User = dsn.User.Username()
	config.Passwd, _ = dsn.User.Password()
	// One round trip a statement instead of three.
	config.InterpolateParams = true
	// The guard goes by the rows that a statement changed.
	config.ClientFoundRows = false
	// It writes to standard error what it also returns.
	config.Logger = &mysqldriver.NopLogger{}
	if config.Params == nil {
		config.Params = map[string]string{}
	}
	// Timestamps are sent in UTC. Strict, because a value that does not fit must
	// fail, not be cut; the quotes and backslashes of [mysql.quote] and of the
	// driver hold in every mode.
	config.Params["time_zone"] = "'+00:00'"
	config.Params["sql_mode"] = "CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')"
	c, err := mysqldriver.NewConnector(config)
	return readsCommitted{c}, err
}

// readsCommitted sets the isolation once for a connection, not for each transaction.
type readsCommitted struct{ driver.Connector }

func (r readsCommitted) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := r.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	session, ok := conn.(driver.ExecerContext)
	if !ok {
		return nil, errors.Join(fmt.Errorf("connection is %T, which runs no statements", conn), conn.Close())
	}
	if _, err := session.ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func (mysql) quote(name string) string { return quoteWith("`", name) }

func (mysql) placeholder(int) string { return "?" }

func (mysql) values(w *writer, _ []string, rows [][]any) { w.list(rows) }

// guards is given its index: a SELECT that scanned other rows would wait for their
// locks, and so deadlock.
func (mysql) guards(w *writer, columns, target string, keys []string, lock bool) {
	w.selectGuards(columns, " FORCE INDEX (PRIMARY)", target, keys)
	if lock {
		w.text(" FOR UPDATE")
	}
}

// onCollision is ON DUPLICATE KEY UPDATE, which fires for every unique index of
// the table, where the others name one. A row that collides by another index than
// the key is another row: it must not be overwritten. So the first key column is
// kept if the key is the same, and else gets a value that does not exist (an
// overflow, error 1690).
func (d mysql) onCollision(key, others []string) string {
	same := make([]string, len(key))
	for i, c := range key {
		same[i] = d.quote(c) + " = VALUES(" + d.quote(c) + ")"
	}
	first := d.quote(key[0])
	set := []string{first + " = IF(" + strings.Join(same, " AND ") + ", " + first + ", ~0 + (" + first + " <=> " + first + "))"}
	for _, c := range others {
		set = append(set, d.quote(c)+" = VALUES("+d.quote(c)+")")
	}
	return " ON DUPLICATE KEY UPDATE " + strings.Join(set, ", ")
}

func (mysql) scalar(v any) (any, error) {
	if t, ok := v.(time.Time); ok {
		return t.UTC().Format("2006-01-02 15:04:05.999999"), nil
	}
	return finite(v)
}

func (mysql) traits() traits {
	return traits{
		foldsCase: true, changeType: "MODIFY COLUMN %s %s",
		types: columnTypes{
			text: "LONGTEXT CHARACTER SET utf8mb4",
			// A key of the default collation would make one row of "a" and "A", and one of
			// any collation that both MySQL and MariaDB know, of "a" and "a ".
			key:      "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
			exactKey: "VARBINARY(1024)", keyBytes: "VARBINARY(255)", uuid: "CHAR(36) CHARACTER SET ascii COLLATE ascii_bin",
			boolean: "TINYINT(1)", integer: "BIGINT", float: "DOUBLE", bytes: "LONGBLOB", timestamp: "DATETIME(6)",
			local: "DATETIME(6)", date: "DATE", clock: "TIME(6)", json: "JSON", decimal: "DECIMAL(%d, %d)", maxPrecision: 65,
		},
		tableOptions: " ENGINE=InnoDB",
	}
}

func (mysql) describe(schema, table string) (columns, indexes string, args []any) {
	args = []any{nil, table}
	if schema != "" {
		args[0] = schema
	}
	return "SELECT column_name, column_type FROM information_schema.columns WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?",
		"SELECT index_name, column_name FROM information_schema.statistics" +
			" WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? AND non_unique = 0 AND sub_part IS NULL",
		args
}

// classify goes by the error number where its SQLSTATE says too little (MySQL 8
// server error reference; the numbers from 1900 to 1999 and from 4000 are MariaDB's).
func (mysql) classify(err error) (connector.Class, bool) {
	if errors.Is(err, mysqldriver.ErrPktTooLarge) {
		return connector.Permanent, true
	}
	if errors.Is(err, mysqldriver.ErrInvalidConn) {
		return connector.Unavailable, true
	}
	var e *mysqldriver.MySQLError
	if !errors.As(err, &e) {
		return "", false
	}
	switch e.Number {
	case 1205, 1213, // lock wait timeout, deadlock
		1317: // query interrupted
		return connector.Transient, true
	case 1021, 1037, 1038, 1041, 1114, // disk or memory full
		1040, 1203, 1226, // too many connections
		1044, 1045, 1049, 1129, 1130, 1142, 1143, 1227, 1370, 1698, // access denied, no such database, host blocked
		1053, 1077, 1079, 1927, // shutdown, connection killed
		1290, 1792, 1836, // read only
		1054, 1064, 1146, 1305, // no such column, syntax error, no such table or routine
		1969, 3024: // statement timeout
		return connector.Unavailable, true
	case 1153, // packet too large
		1265,                         // data truncated
		1364, 1366, 1369, 1411, 1442, // no default, incorrect value, view's check, trigger
		1525, 1526, // no partition for the value
		1644,       // raised by a routine or a trigger
		3140, 3819: // invalid JSON, check constraint
		return connector.Permanent, true
	}
	return classOfState(string(e.SQLState[:])), true
}
