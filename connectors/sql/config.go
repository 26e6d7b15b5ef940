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
	// Statement replaces the tables by the database's own statements.
	Statement *Statement `yaml:"statement"`
	// Map gives the named parameters of the statements.
	Map *connector.Tree `yaml:"map"`
	// CreateTables creates the tables that do not exist, with columns of the types
	// that the expressions have. A table that exists is never altered.
	CreateTables bool `yaml:"create_tables" default:"false"`
}

// Table maps an event to the rows of one table. Each row belongs to one policy
// key: when that is deleted, its rows go.
type Table struct {
	// Key are the columns that identify a row. The table needs a primary key or a
	// unique index on exactly these.
	Key []string `yaml:"key" required:"true"`
	// VersionColumn, if set, is filled with the version of the event.
	VersionColumn string `yaml:"version_column"`
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
	case c.Statement != nil && c.CreateTables:
		add("create_tables", "a statement has no tables to create")
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
	if columns[t.VersionColumn] != nil {
		add(path+".version_column", "column %q is in the map too", t.VersionColumn)
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
