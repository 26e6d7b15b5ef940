package mapping

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/hms-sme/policysync/pkg/event"
)

// adapter shows the values of events to CEL.
type adapter struct{}

// NativeToValue implements [types.Adapter].
func (adapter) NativeToValue(v any) ref.Val { return toCEL(v) }

// toCEL shows a value of an event to CEL without copying what it holds. Dates and
// decimals are their text: CEL has neither.
func toCEL(v any) ref.Val {
	switch v := v.(type) {
	case ref.Val:
		return v
	case *event.Object:
		if v == nil {
			return types.NullValue
		}
		return object{v}
	case event.Date:
		return types.String(v.String())
	case event.Decimal:
		return types.String(v.String())
	case time.Time:
		return types.Timestamp{Time: v}
	case time.Duration:
		return types.Duration{Duration: v}
	case []any:
		return list{types.NewList(adapter{}, v)}
	case map[string]any:
		return dict{types.NewMap(adapter{}, v)}
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

// fromCEL turns the result of an expression into a value of an event. An empty
// optional is null; an object that came from the event is that object, with its
// fields in their order.
func fromCEL(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case object:
		return v.o, nil
	case types.Timestamp:
		return v.Time.UTC(), nil
	case types.Duration:
		if v.Duration < 0 || v.Duration >= 24*time.Hour {
			return nil, fmt.Errorf("duration %v is no time of day: take its seconds, or its text by string()", v.Duration)
		}
		return v.Duration, nil
	case types.Uint:
		if v > math.MaxInt64 {
			return nil, fmt.Errorf("%d is too large for an integer", uint64(v))
		}
		return int64(v), nil
	case list:
		return v.Value(), nil
	case dict:
		return v.Value(), nil
	case *types.Optional:
		if !v.HasValue() {
			return nil, nil
		}
		return fromCEL(v.GetValue())
	case *types.Err:
		return nil, v
	case types.Bool, types.Int, types.Double, types.String, types.Bytes:
		return v.Value(), nil
	case traits.Mapper:
		return fromMap(v)
	case traits.Lister:
		return fromList(v)
	}
	return nil, fmt.Errorf("a %s is no value for a document", v.Type().TypeName())
}

// list and dict are arrays and maps of the event itself: as results, they are what
// they were.
type (
	list struct{ traits.Lister }
	dict struct{ traits.Mapper }
)

func fromList(l traits.Lister) (any, error) {
	items := []any{}
	for it := l.Iterator(); it.HasNext() == types.True; {
		item, err := fromCEL(it.Next())
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func fromMap(m traits.Mapper) (any, error) {
	native := map[string]any{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, fmt.Errorf("key %v of a map is no text", key.Value())
		}
		value, err := fromCEL(m.Get(key))
		if err != nil {
			return nil, err
		}
		native[string(name)] = value
	}
	return native, nil
}

// objectType is the type of records where the checker knows no better.
var objectType = types.NewObjectType("record", traits.IndexerType|traits.FieldTesterType)

// object is a record of the event.
type object struct{ o *event.Object }

// Get implements [traits.Indexer].
func (o object) Get(index ref.Val) ref.Val {
	name, ok := index.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(index)
	}
	v, ok := o.o.Get(string(name))
	if !ok {
		return types.NewErr("no field %q", string(name))
	}
	return toCEL(v)
}

// IsSet implements [traits.FieldTester].
func (o object) IsSet(field ref.Val) ref.Val {
	name, ok := field.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(field)
	}
	v, ok := o.o.Get(string(name))
	return types.Bool(ok && v != nil)
}

// Equal implements [ref.Val]: two objects are equal if they print the same.
func (o object) Equal(other ref.Val) ref.Val {
	p, ok := other.(object)
	if !ok {
		return types.False
	}
	a, errA := event.AppendJSON(nil, o.o)
	b, errB := event.AppendJSON(nil, p.o)
	return types.Bool(errA == nil && errB == nil && bytes.Equal(a, b))
}

// ConvertToNative implements [ref.Val].
func (o object) ConvertToNative(t reflect.Type) (any, error) {
	if t == reflect.TypeFor[*event.Object]() {
		return o.o, nil
	}
	return nil, fmt.Errorf("a record is no %s", t)
}

// ConvertToType implements [ref.Val].
func (o object) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return objectType
	}
	return types.NewErr("a record is no %s", t.TypeName())
}

// Type implements [ref.Val].
func (o object) Type() ref.Type { return objectType }

// Value implements [ref.Val].
func (o object) Value() any { return o.o }
