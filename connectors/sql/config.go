package sql

import (
	"fmt"
	"slices"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Config is the target's part of the config file. It holds either tables or a
// statement.
type Config struct {
	// DSN is the address of the database and the credentials for it:
	// postgres://USER:PASSWORD@HOST:PORT/DATABASE, mysql:// in the same form (also
	// for MariaDB), or sqlite:///PATH. What follows a ? goes to the driver.
	DSN connector.Secret `yaml:"dsn" required:"true"`
	// Tables are the tables to write, in the order in which rows are inserted;
	// rows are deleted in the opposite order, so a table that others refer to by a
	// foreign key comes first. A name may be SCHEMA.TABLE.
	Tables []connector.Named[Table] `yaml:"tables"`
	// TLS, if set, is how to connect to PostgreSQL or MySQL: a connection without it is
	// then refused, whatever the DSN says, whose driver has parameters for the same
	// (sslmode, tls). The server's certificate must carry the DSN's host, unless
	// server_name says another name.
	TLS *connector.TLS `yaml:"tls"`
	// Statement replaces the tables by the database's own statements.
	Statement *Statement `yaml:"statement"`
	// Map gives the named parameters of the statements.
	Map *connector.Tree `yaml:"map"`
	// Schema says what becomes of tables that do not fit. check: the target is held,
	// and the error names each fault and the statement that mends it. create: tables
	// that do not exist are created, with the types of the expressions. evolve: also
	// columns that a table lacks are added, as nullable. The type of a column is
	// never changed.
	Schema string `yaml:"schema" default:"check" oneof:"check create evolve"`
}

// ChecksVersions implements [connector.Guard]: what statements do is not known.
func (c *Config) ChecksVersions() bool { return c.Statement == nil }

// Table maps an event to the rows of one table. Each row belongs to one policy
// key: when that is deleted, its rows go.
type Table struct {
	// Key are the columns that identify a row. The table needs a primary key or a
	// unique index on exactly these.
	Key []string `yaml:"key" required:"true"`
	// When, if set, limits the table to the events for which it holds. Another event
	// leaves the rows of its policy key in this table as they are; a tombstone does not.
	When *connector.Expr `yaml:"when" want:"bool"`
	// VersionColumn, if set, is filled with the version of the event.
	VersionColumn string `yaml:"version_column"`
	// DeletedColumn, if set, keeps rows that would be deleted: it is filled with the
	// time of the record that deletes them, and null again when they come back.
	DeletedColumn string `yaml:"deleted_column"`
	// Map gives the columns; a nested map is stored as JSON text.
	Map *connector.Tree `yaml:"map" required:"true"`
	// Each is a list: the table gets one row per item, which the expressions of
	// Map see under the name As. At least one column of Key must not depend on the
	// item: such columns tell which rows belong to one event.
	Each *connector.Expr `yaml:"each"`
	As   string          `yaml:"as" default:"item"`
	// Replace deletes the rows that the list no longer has. Without it they stay.
	Replace bool `yaml:"replace" default:"false"`
}

// Loop implements [connector.Looper].
func (t *Table) Loop() (list *connector.Expr, item string) {
	if t.Each.IsZero() {
		return nil, ""
	}
	return t.Each, t.As
}

// Statement is SQL of the user's own, with :name for the parameters that Map
// gives, :key for the policy key and :version for the version. It runs in the
// transaction that also checks and keeps the version.
type Statement struct {
	// Upsert is run for each version that is not older than what the database has.
	Upsert string `yaml:"upsert" required:"true"`
	// Delete is run for a tombstone. Its parameters have the values of the last
	// upsert; if it needs one and there was no upsert, there is nothing to delete
	// and it is not run.
	Delete string `yaml:"delete" required:"true"`
}

// Validate implements [connector.Validator].
func (c *Config) Validate() []connector.Mistake {
	var ms []connector.Mistake
	add := func(path, format string, args ...any) {
		ms = append(ms, connector.Mistake{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	switch {
	case len(c.Tables) == 0 && c.Statement == nil:
		add("", "neither tables nor statement is set")
	case len(c.Tables) > 0 && c.Statement != nil:
		add("statement", "tables and statement exclude each other")
	case c.Statement == nil && !c.Map.IsZero():
		add("map", "only a statement has its map here; a table has its own")
	case c.Statement != nil && c.Schema != "" && c.Schema != schemaCheck:
		add("schema", "a statement has no tables to create")
	}
	if c.Statement != nil {
		c.validateStatement(add)
	}
	for _, t := range c.Tables {
		if t.Name == guardTable {
			add("tables."+t.Name, "the table belongs to policysync")
		}
		t.Value.validate("tables."+t.Name, add)
	}
	return ms
}

func (c *Config) validateStatement(add func(path, format string, args ...any)) {
	if !c.Map.IsZero() && c.Map.Fields == nil {
		add("map", "want the parameters by name, not one expression for all")
		return
	}
	known := []string{keyParameter, versionParameter}
	if c.Map != nil {
		for _, f := range c.Map.Fields {
			if slices.Contains(known, f.Name) {
				add("map."+f.Name, "%q is a parameter already", f.Name)
			}
			known = append(known, f.Name)
		}
	}
	for path, text := range map[string]string{"statement.upsert": c.Statement.Upsert, "statement.delete": c.Statement.Delete} {
		for _, p := range parseStatement(text).parameters {
			if !slices.Contains(known, p) {
				add(path, "unknown parameter %q: map gives none of that name", ":"+p)
			}
		}
	}
}

func (t *Table) validate(path string, add func(path, format string, args ...any)) {
	if t.Map.IsZero() {
		return // reported by the decoder: it is required
	}
	if t.Map.Fields == nil {
		add(path+".map", "want the columns by name, not one expression for all")
		return
	}
	columns := make(map[string]*connector.Tree, len(t.Map.Fields))
	for _, f := range t.Map.Fields {
		columns[f.Name] = f.Tree
	}
	for key, column := range map[string]string{"version_column": t.VersionColumn, "deleted_column": t.DeletedColumn} {
		if columns[column] != nil {
			add(path+"."+key, "column %q is in the map too", column)
		}
	}
	if t.VersionColumn != "" && t.VersionColumn == t.DeletedColumn {
		add(path+".deleted_column", "column %q is version_column too", t.DeletedColumn)
	}
	if !t.When.IsZero() && !t.Each.IsZero() && dependsOn(&connector.Tree{Expr: t.When}, t.As) {
		add(path+".when", "it is asked once per event and sees no %q: filter the list of each instead", t.As)
	}
	if t.Replace && t.Each.IsZero() {
		add(path+".replace", "only a table with each has rows to replace")
	}
	shared := false
	for _, k := range t.Key {
		tree := columns[k]
		if tree == nil {
			add(path+".key", "key column %q is not in the map", k)
			return
		}
		shared = shared || t.Each.IsZero() || !dependsOn(tree, t.As)
	}
	if len(t.Key) > 0 && !shared {
		add(path+".key", "each key column depends on %q: one must not, to tell which rows belong to one event", t.As)
	}
}
