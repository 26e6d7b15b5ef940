package mapping

import (
	"fmt"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hms-sme/policysync/pkg/event"
)

// provider tells CEL the types of the records of one schema, and reads their
// fields.
type provider struct {
	types.Provider
	records map[string]*event.Type // by the name of the CEL type
	// missing collects, while an expression is checked, the fields that it asked for
	// in vain, each with those that the record has.
	missing map[string][]string
}

// newProvider names every record of the schema.
func newProvider(base types.Provider, s *event.Schema) *provider {
	p := &provider{Provider: base, records: map[string]*event.Type{}, missing: map[string][]string{}}
	if s != nil {
		p.collect(s.Root)
	}
	return p
}

func (p *provider) collect(t *event.Type) {
	if t == nil || t.Kind == event.Rec && p.records[recordName(t)] != nil {
		return
	}
	if t.Kind == event.Rec {
		p.records[recordName(t)] = t
		for _, f := range t.Fields {
			p.collect(f.Type)
		}
	}
	p.collect(t.Items)
	for _, b := range t.Branches {
		p.collect(b)
	}
}

// recordName is the name of a record's CEL type. No expression can spell it: a
// record event.payload would else hide the field payload of the variable event.
func recordName(t *event.Type) string { return "record " + t.Name }

// FindStructType implements [types.Provider].
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if p.records[name] != nil {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames implements [types.Provider].
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	t := p.records[name]
	if t == nil {
		return p.Provider.FindStructFieldNames(name)
	}
	names := make([]string, len(t.Fields))
	for i, f := range t.Fields {
		names[i] = f.Name
	}
	return names, true
}

// FindStructFieldType implements [types.Provider].
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	t := p.records[name]
	if t == nil {
		return p.Provider.FindStructFieldType(name, field)
	}
	f := t.Field(field)
	if f == nil {
		p.missing[field], _ = p.FindStructFieldNames(name)
		return nil, false
	}
	return &types.FieldType{
		Type: celType(f.Type),
		IsSet: func(target any) bool {
			v, err := fieldOf(target, field)
			return err == nil && v != nil
		},
		GetFrom: func(target any) (any, error) { return fieldOf(target, field) },
	}, true
}

// fieldOf reads a field of a record. A field of null is null, so that a path ends
// where the value does.
func fieldOf(target any, field string) (any, error) {
	switch o := target.(type) {
	case *event.Object:
		if v, ok := o.Get(field); ok || o == nil {
			return v, nil
		}
	case nil, structpb.NullValue:
		return nil, nil
	}
	return nil, fmt.Errorf("no field %q", field)
}

// NewValue implements [types.Provider]: expressions read records and make none.
func (p *provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if p.records[name] != nil {
		return types.NewErr("a record cannot be made: want a map")
	}
	return p.Provider.NewValue(name, fields)
}

// celType is the CEL type of the values of an Avro type. A union of null and one
// other type is that type, and takes null; any other union is checked when it is
// evaluated.
func celType(t *event.Type) *types.Type {
	if inner, ok := t.Nullable(); ok {
		if c := celType(inner); c.Kind() != types.DynKind {
			return types.NewNullableType(c)
		}
		return types.DynType
	}
	switch t.Logical {
	case event.LogicalDecimal, event.LogicalDate, event.LogicalUUID:
		return types.StringType
	case event.LogicalTimestampMillis, event.LogicalTimestampMicros, event.LogicalTimestampNanos,
		event.LogicalLocalMillis, event.LogicalLocalMicros, event.LogicalLocalNanos:
		return types.TimestampType
	case event.LogicalTimeMillis, event.LogicalTimeMicros:
		return types.DurationType
	}
	switch t.Kind {
	case event.Null:
		return types.NullType
	case event.Boolean:
		return types.BoolType
	case event.Int, event.Long:
		return types.IntType
	case event.Float, event.Double:
		return types.DoubleType
	case event.Bytes, event.Fixed:
		return types.BytesType
	case event.String, event.Enum:
		return types.StringType
	case event.Array:
		return types.NewListType(celType(t.Items))
	case event.Map:
		return types.NewMapType(types.StringType, celType(t.Items))
	case event.Rec:
		return types.NewObjectType(recordName(t))
	case event.Union:
	}
	return types.DynType
}

// avroType is the type of the values that an expression of a CEL type results in,
// nil if it is not known before they come.
func (p *provider) avroType(t *types.Type) *event.Type {
	switch t.Kind() {
	case types.BoolKind:
		return &event.Type{Kind: event.Boolean}
	case types.IntKind, types.UintKind:
		return &event.Type{Kind: event.Long}
	case types.DoubleKind:
		return &event.Type{Kind: event.Double}
	case types.StringKind:
		return &event.Type{Kind: event.String}
	case types.BytesKind:
		return &event.Type{Kind: event.Bytes}
	case types.TimestampKind:
		return &event.Type{Kind: event.Long, Logical: event.LogicalTimestampMicros}
	case types.DurationKind:
		return &event.Type{Kind: event.Long, Logical: event.LogicalTimeMicros}
	case types.ListKind:
		if items := p.avroType(t.Parameters()[0]); items != nil {
			return &event.Type{Kind: event.Array, Items: items}
		}
	case types.MapKind:
		if values := p.avroType(t.Parameters()[1]); values != nil {
			return &event.Type{Kind: event.Map, Items: values}
		}
	case types.StructKind:
		return p.records[t.TypeName()]
	case types.OpaqueKind:
		if t.TypeName() == types.OptionalType.TypeName() {
			return p.avroType(t.Parameters()[0])
		}
	}
	return nil
}
