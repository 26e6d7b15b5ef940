package warehouse

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Config is the `warehouse` part of a target.
type Config struct {
	// DSN says where the warehouse is: clickhouse://USER:PASSWORD@HOST:9000/DATABASE
	// (native protocol; ?secure=true for TLS), parquet://FOLDER for files that another
	// warehouse loads, duckdb://PATH in a binary built for it, or sqlite://PATH.
	// sqlite://:memory: is gone when the process ends. A DSN from a file may change
	// while the target runs.
	DSN connector.Secret `yaml:"dsn" required:"true"`
	// Table is the history table. Default: the target's name in snake case, so that
	// two targets do not share one by accident. The view of the newest versions is
	// named after it, with _latest.
	Table string `yaml:"table"`
	// Map names the columns and the expressions that fill them. Nested trees, arrays
	// and records become JSON text. Default: one column `document` with the whole
	// event as JSON.
	Map *connector.Tree `yaml:"map"`
	// Schema says what becomes of a table that does not fit. check: it holds the target,
	// and the error proposes the statements that mend it; a view of the newest versions
	// is yours to write. create: the table and the view are made where they do not
	// exist, with column types from the types of the expressions. evolve: also columns
	// that the table lacks are added, as nullable, and the view is made anew.
	Schema string `yaml:"schema" default:"create" oneof:"check create evolve"`
	// OrderBy names mapped columns to sort the table by, ahead of the key: queries
	// that select by them read less. Such a column is not nullable. Rows of one
	// source position collapse only while these columns stay the same.
	OrderBy []string `yaml:"order_by"`
}

// The values of the schema option.
const (
	schemaCheck  = "check"
	schemaCreate = "create"
	schemaEvolve = "evolve"
)

// identifier is what every engine takes as a name, quoted or not.
var identifier = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

const wantIdentifier = "want a letter, then letters, digits and underscores"

// Validate reports mistakes in the DSN's scheme and in the names.
func (c *Config) Validate() []connector.Mistake {
	var ms []connector.Mistake
	add := func(path, format string, args ...any) {
		ms = append(ms, connector.Mistake{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	// A file that is not there yet is for New to report: the config may be checked on
	// another machine.
	if dsn, err := c.DSN.Reveal(); err == nil && dsn != "" {
		if err := checkDSN(dsn); err != nil {
			add("dsn", "%v", err)
		}
	}
	if c.Table != "" && !identifier.MatchString(c.Table) {
		add("table", "%q is no table name: %s", c.Table, wantIdentifier)
	}
	if !c.Map.IsZero() && c.Map.Fields == nil {
		add("map", "want a column name before each expression")
	}
	columns := c.mapped()
	for _, name := range columns {
		if !identifier.MatchString(name) {
			add("map."+name, "%q is no column name: %s", name, wantIdentifier)
		}
	}
	for _, name := range c.OrderBy {
		if !slices.Contains(columns, name) {
			add("order_by", "%q is no column of the map: %s", name, strings.Join(columns, ", "))
		}
	}
	return ms
}

// creates reports whether the connector may make the table.
func (c *Config) creates() bool { return c.Schema == schemaCreate || c.Schema == schemaEvolve }

// mapped returns the names of the columns that the config fills.
func (c *Config) mapped() []string {
	if c.Map.IsZero() {
		return []string{documentColumn}
	}
	names := make([]string, len(c.Map.Fields))
	for i, f := range c.Map.Fields {
		names[i] = f.Name
	}
	return names
}

// snake writes dataWarehouse as data_warehouse, and whatever no name can hold as an
// underscore.
func snake(name string) string {
	var b strings.Builder
	var before rune
	for _, r := range name {
		switch {
		case r > unicode.MaxASCII, !unicode.IsLetter(r) && !unicode.IsDigit(r):
			r = '_'
		case unicode.IsUpper(r):
			if unicode.IsLower(before) || unicode.IsDigit(before) {
				b.WriteByte('_')
			}
		}
		before = r
		b.WriteRune(unicode.ToLower(r))
	}
	if s := b.String(); identifier.MatchString(s) {
		return s
	}
	return "t_" + b.String()
}

// ChecksVersions implements [connector.Guard]: rows are collapsed by version.
func (c *Config) ChecksVersions() bool { return true }
