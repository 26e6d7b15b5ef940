package redact

import (
	"bytes"
	"slices"
	"strings"

	"github.com/hms-sme/policysync/pkg/event"
)

// steps are the names below the event.
func (p Path) steps() []string { return strings.Split(string(p), ".")[1:] }

// Missing returns the first name of the path that none of the schemas has, and the
// names that they have in its place; empty if one of them has it all.
func (p Path) Missing(schemas []*event.Schema) (name string, instead []string) {
	types := make([]*event.Type, len(schemas))
	for i, s := range schemas {
		types[i] = s.Root
	}
	for _, name := range p.steps() {
		types = throughArrays(types)
		below, _ := fieldTypes(types, name)
		for _, t := range types {
			if t.Kind == event.Map {
				below = append(below, t.Items)
			}
			for _, f := range t.Fields {
				instead = append(instead, f.Name)
			}
		}
		if len(below) == 0 {
			return name, instead
		}
		types, instead = below, nil
	}
	return "", nil
}

// branches replaces each union among types by its branches.
func branches(types []*event.Type) (flat []*event.Type) {
	for _, t := range types {
		if t.Kind == event.Union {
			flat = append(flat, t.Branches...)
		} else {
			flat = append(flat, t)
		}
	}
	return distinct(flat)
}

// throughArrays replaces unions by their branches and arrays by their items, until
// there are none.
func throughArrays(types []*event.Type) []*event.Type {
	isArray := func(t *event.Type) bool { return t.Kind == event.Array }
	for types = branches(types); slices.ContainsFunc(types, isArray); types = branches(types) {
		for i, t := range types {
			if isArray(t) {
				types[i] = t.Items
			}
		}
	}
	return types
}

// distinct keeps a schema that names a type in many branches from being walked once
// for each way through it.
func distinct(types []*event.Type) (kept []*event.Type) {
	for _, t := range types {
		if !slices.Contains(kept, t) {
			kept = append(kept, t)
		}
	}
	return kept
}

// step returns what is left of the paths whose next name this is.
func step(paths [][]string, name string) [][]string {
	var below [][]string
	for _, p := range paths {
		if len(p) > 0 && p[0] == name {
			below = append(below, p[1:])
		}
	}
	return below
}

// fieldTypes returns the types that the named field has in the records among types,
// and whether one of them calls it sensitive.
func fieldTypes(types []*event.Type, name string) (below []*event.Type, sensitive bool) {
	for _, t := range types {
		if f := t.Field(name); f != nil {
			below = append(below, f.Type)
			sensitive = sensitive || bytes.Equal(bytes.TrimSpace(f.Props["sensitive"]), []byte("true"))
		}
	}
	return below, sensitive
}

// itemTypes returns the types of the items of the arrays and maps among types.
func itemTypes(types []*event.Type) (below []*event.Type) {
	for _, t := range types {
		if t.Items != nil && !slices.Contains(below, t.Items) {
			below = append(below, t.Items)
		}
	}
	return below
}
