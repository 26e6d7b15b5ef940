package mapping

import (
	"fmt"
	"os"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"github.com/goccy/go-yaml"
)

// Lookups are tables beside the config. An expression finds an entry by its key, as
// in lookups.agencies[event.payload.agencyId]; a key that the table lacks is an
// error, unless the expression has a value for it:
// lookups.agencies[?event.payload.agencyId].orValue("unknown").
type Lookups map[string]*Lookup

// Lookup is one table: a file, YAML or JSON, of one mapping from keys to texts, whole
// numbers, numbers, booleans, lists or mappings. It is read once.
type Lookup struct {
	entries map[string]any
	values  *types.Type // of the entries, dyn if they differ
}

// UnmarshalScalar reads the file of the given name.
func (l *Lookup) UnmarshalScalar(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read lookup: %w", err)
	}
	var entries map[string]any
	if err := yaml.UnmarshalWithOptions(text, &entries, yaml.Strict()); err != nil {
		return fmt.Errorf("read lookup %q: want one mapping: %w", file, err)
	}
	if len(entries) == 0 {
		return fmt.Errorf("read lookup %q: it has no entries", file)
	}
	l.entries = make(map[string]any, len(entries))
	for key, v := range entries {
		entry, err := fromYAML(v)
		if err != nil {
			return fmt.Errorf("read lookup %q: %s: %w", file, key, err)
		}
		l.entries[key] = entry
		if t := scalarType(entry); l.values == nil || l.values == t {
			l.values = t
		} else {
			l.values = cel.DynType
		}
	}
	return nil
}

// fromYAML makes a value as package event defines them.
func fromYAML(v any) (any, error) {
	switch v := v.(type) {
	case nil, string, bool, int64, float64:
		return v, nil
	case int:
		return int64(v), nil
	case uint64:
		n := int64(v)
		if n < 0 {
			return nil, fmt.Errorf("%d is too large for an integer", v)
		}
		return n, nil
	case []any:
		for i := range v {
			item, err := fromYAML(v[i])
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			v[i] = item
		}
		return v, nil
	case map[string]any:
		for key := range v {
			item, err := fromYAML(v[key])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			v[key] = item
		}
		return v, nil
	}
	return nil, fmt.Errorf("a %T is no entry", v)
}

func scalarType(v any) *types.Type {
	switch v.(type) {
	case string:
		return cel.StringType
	case bool:
		return cel.BoolType
	case int64:
		return cel.IntType
	case float64:
		return cel.DoubleType
	}
	return cel.DynType
}

// lookupPrefix begins the names of the variables that tables are to CEL.
const lookupPrefix = "lookups."

// declare makes each table a variable of its own, so that a misspelt name is found
// when the config is loaded.
func (ls Lookups) declare() []cel.EnvOption {
	var options []cel.EnvOption
	for name, l := range ls {
		values := cel.DynType
		if l != nil && l.values != nil { // else it could not be read, which is a mistake of its own
			values = l.values
		}
		options = append(options, cel.Variable(lookupPrefix+name, cel.MapType(cel.StringType, values)))
	}
	return options
}
