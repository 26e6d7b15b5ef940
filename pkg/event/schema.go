package event

import "encoding/json"

// Kind is the kind of an Avro type (Avro 1.12 specification, "Schema Declaration").
type Kind string

// The kinds of Avro types.
const (
	Null    Kind = "null"
	Boolean Kind = "boolean"
	Int     Kind = "int"
	Long    Kind = "long"
	Float   Kind = "float"
	Double  Kind = "double"
	Bytes   Kind = "bytes"
	String  Kind = "string"
	Rec     Kind = "record"
	Enum    Kind = "enum"
	Array   Kind = "array"
	Map     Kind = "map"
	Union   Kind = "union"
	Fixed   Kind = "fixed"
)

// Schema is a parsed Avro schema. It is immutable, and its pointer is its
// identity: compiled expressions are cached by it.
type Schema struct {
	// ID is the registry's id, 0 if the schema came from a file.
	ID int
	// Text is the schema as JSON, references inlined.
	Text string
	Root *Type
}

// Type is one node of a schema. A named type that refers to itself is a cycle
// of pointers.
type Type struct {
	Kind    Kind
	Name    string // full name, of records, enums and fixed
	Doc     string
	Aliases []string // full names
	// Fields are a record's.
	Fields []*Field
	// Items is the type of an array's items or of a map's values.
	Items *Type
	// Branches are a union's.
	Branches []*Type
	// Symbols and Default are an enum's.
	Symbols []string
	Default string
	Size    int // of fixed, in bytes
	// Logical is the logical type, empty if there is none that this type can
	// carry. Precision and Scale are a decimal's.
	Logical          string
	Precision, Scale int
}

// Field is a field of a record.
type Field struct {
	Name    string
	Doc     string
	Aliases []string
	Type    *Type
	// Default is the JSON of the default, nil if the field has none.
	Default json.RawMessage
	// Props are the attributes that Avro does not define, such as "sensitive".
	Props map[string]json.RawMessage
}

// Nullable returns the type under a union of null and one other type, and
// whether t is such a union.
func (t *Type) Nullable() (*Type, bool) {
	if t.Kind != Union || len(t.Branches) != 2 {
		return t, false
	}
	switch {
	case t.Branches[0].Kind == Null:
		return t.Branches[1], true
	case t.Branches[1].Kind == Null:
		return t.Branches[0], true
	}
	return t, false
}

// Field returns a record's field by name, or nil.
func (t *Type) Field(name string) *Field {
	for _, f := range t.Fields {
		if f.Name == name {
			return f
		}
	}
	return nil
}
