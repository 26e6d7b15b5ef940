package sql

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hms-sme/policysync/pkg/event"
)

// columnTypes are the types of a database's columns, by what they are to hold.
type columnTypes struct {
	text, boolean, integer, float, bytes, date, clock, json, uuid string
	// timestamp is a moment, local one without a zone.
	timestamp, local string
	// key and keyBytes are for text and bytes in a key: MySQL indexes neither of any
	// length. exactKey also tells apart what differs in a trailing space.
	key, keyBytes, exactKey string
	// decimal has verbs for precision and scale, or none; maxPrecision bounds them.
	decimal      string
	maxPrecision int
}

// of returns the type of a column whose values have type t, nil if that is not
// known.
func (c columnTypes) of(t *event.Type, key bool) string {
	switch familyOfValues(t) {
	case decimals:
		switch {
		case c.maxPrecision == 0:
			return c.decimal
		case t.Precision <= c.maxPrecision:
			return fmt.Sprintf(c.decimal, t.Precision, t.Scale)
		}
	case days:
		return c.date
	case clocks:
		return c.clock
	case moments:
		if strings.HasPrefix(t.Logical, "local-") {
			return c.local
		}
		return c.timestamp
	case booleans:
		return c.boolean
	case integers:
		return c.integer
	case floats:
		return c.float
	case binaries:
		if key {
			return c.keyBytes
		}
		return c.bytes
	case documents:
		if !key {
			return c.json
		}
	case texts:
		if t.Logical == event.LogicalUUID {
			return c.uuid
		}
	case anything:
	}
	if key {
		return c.key
	}
	return c.text
}

// family is a kind of values that a column holds. What is not known, such as a
// type of the user's own, holds anything.
type family string

const (
	anything  family = ""
	texts     family = "text"
	booleans  family = "boolean"
	integers  family = "integer"
	decimals  family = "decimal"
	floats    family = "float"
	binaries  family = "bytes"
	moments   family = "timestamp"
	days      family = "date"
	clocks    family = "time"
	documents family = "document"
)

// familyOfValues is the family of the values of type t, nil if that is not known.
func familyOfValues(t *event.Type) family {
	if t == nil {
		return anything
	}
	switch t.Logical {
	case event.LogicalDecimal:
		return decimals
	case event.LogicalDate:
		return days
	case event.LogicalTimeMillis, event.LogicalTimeMicros:
		return clocks
	case event.LogicalUUID:
		return texts
	case "":
	default:
		return moments
	}
	switch t.Kind { //nolint:exhaustive // the rest may be anything
	case event.String, event.Enum:
		return texts
	case event.Boolean:
		return booleans
	case event.Int, event.Long:
		return integers
	case event.Float, event.Double:
		return floats
	case event.Bytes, event.Fixed:
		return binaries
	case event.Rec, event.Array, event.Map:
		return documents
	}
	return anything
}

// columnType is a type in the database's own words, and what they say.
type columnType struct {
	name   string
	family family
	// length is the most characters of a text, precision and scale are a decimal's;
	// 0 where there is no such bound.
	length, precision, scale int
	// padded is set for a text whose spaces at the end mean nothing.
	padded bool
}

// familyNames are the first words of the names of types, in all databases.
var familyNames = []struct {
	words  string
	family family
}{
	{"character text char bpchar varchar nvarchar nchar clob citext name tinytext mediumtext longtext enum", texts},
	{"bool boolean", booleans},
	{"timestamp datetime", moments},
	{"date", days},
	{"time", clocks},
	{"integer bigint int smallint tinyint mediumint serial bigserial", integers},
	{"numeric decimal", decimals},
	{"double float real", floats},
	{"bytea blob varbinary binary tinyblob mediumblob longblob", binaries},
	{"json jsonb", documents},
}

var typeName = regexp.MustCompile(`^([a-z ]+)\b(?:\((\d+)(?:,\s*(\d+))?\))?`)

// parseType reads a type as a database names it.
func parseType(name string) columnType {
	t := columnType{name: name}
	m := typeName.FindStringSubmatch(strings.ToLower(name))
	if m == nil || strings.HasSuffix(name, "[]") {
		return t
	}
	first, _, _ := strings.Cut(m[1], " ")
	for _, f := range familyNames {
		if slices.Contains(strings.Fields(f.words), first) {
			t.family = f.family
			break
		}
	}
	n, _ := strconv.Atoi(m[2]) // no digits: no bound
	scale, _ := strconv.Atoi(m[3])
	switch t.family { //nolint:exhaustive // the rest has no bounds that matter
	case texts:
		t.length, t.padded = n, slices.Contains([]string{"character", "char", "bpchar"}, strings.TrimSpace(m[1]))
	case decimals:
		t.precision, t.scale = n, scale
	}
	return t
}

// accepts are the families of columns that take values of a family beside their
// own, without a loss.
var accepts = map[family][]family{
	texts:     {documents, moments, days, clocks},
	booleans:  {texts},
	integers:  {decimals, floats, texts},
	decimals:  {texts},
	floats:    {decimals, texts},
	moments:   {texts},
	days:      {moments, texts},
	clocks:    {texts},
	documents: {texts},
}

// holds reports whether a column of the type takes all values of type want.
func (t columnType) holds(want *event.Type, created string) bool {
	values := familyOfValues(want)
	switch {
	case values == anything, t.family == anything, t.family == parseType(created).family && values != decimals:
		return true
	case values == decimals && t.family == decimals:
		return t.precision == 0 || t.scale >= want.Scale && t.precision-t.scale >= want.Precision-want.Scale
	}
	return t.family == values || slices.Contains(accepts[values], t.family)
}
