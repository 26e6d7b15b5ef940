package event

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// A value inside an event is one of
//
//	nil, bool, int64, float64, string, []byte,
//	[]any, map[string]any, *Object,
//	time.Time (timestamps, UTC), Date, time.Duration (time of day), Decimal
//
// Unions are unwrapped: a value is what the chosen branch holds. An enum is its
// symbol as a string, a uuid its text.

// Object is a record, or a document made from one: fields in their order.
// Names may be shared between objects and must not be changed.
type Object struct {
	Names  []string
	Values []any
}

// Get returns the named field.
func (o *Object) Get(name string) (any, bool) {
	if o == nil {
		return nil, false
	}
	i := slices.Index(o.Names, name)
	if i < 0 {
		return nil, false
	}
	return o.Values[i], true
}

// Add appends a field. It must not be called on an object that shares its names.
func (o *Object) Add(name string, v any) {
	o.Names = append(o.Names, name)
	o.Values = append(o.Values, v)
}

// MarshalJSON writes the fields in their order.
func (o *Object) MarshalJSON() ([]byte, error) { return AppendJSON(nil, o) }

// Date is a calendar date: days since 1970-01-01 (Avro's date).
type Date int32

// String prints the date as 2006-01-02.
func (d Date) String() string { return d.Time().Format(time.DateOnly) }

// Time is the midnight, UTC, that begins the date.
func (d Date) Time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// Decimal is an exact decimal number, Unscaled × 10^-Scale (Avro's decimal).
type Decimal struct {
	Unscaled *big.Int
	Scale    int
}

// String prints all digits of the scale: 12.30, not 12.3.
func (d Decimal) String() string {
	if d.Unscaled == nil {
		return "0"
	}
	if d.Scale <= 0 {
		return d.Unscaled.String()
	}
	den := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.Scale)), nil)
	return new(big.Rat).SetFrac(d.Unscaled, den).FloatString(d.Scale)
}

// AppendJSON appends v as JSON: objects in the order of their fields, maps by
// sorted key, integers as integers, decimals and bytes (base64) as strings,
// timestamps in RFC 3339 with up to nanoseconds, a date as 2006-01-02, a time of
// day as 15:04:05.999999. It refuses NaN and infinities, which JSON cannot hold,
// and types that no event has.
func AppendJSON(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case uint64:
		return strconv.AppendUint(dst, v, 10), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return dst, fmt.Errorf("write %v as JSON: not a JSON number", v)
		}
		return appendFloat(dst, v), nil
	case string:
		return appendString(dst, v), nil
	case []byte:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v)
		return append(dst, '"'), nil
	case time.Time:
		dst = append(dst, '"')
		dst = v.UTC().AppendFormat(dst, time.RFC3339Nano)
		return append(dst, '"'), nil
	case time.Duration:
		dst = append(dst, '"')
		dst = time.Unix(0, int64(v)).UTC().AppendFormat(dst, "15:04:05.999999")
		return append(dst, '"'), nil
	case Date:
		return appendString(dst, v.String()), nil
	case Decimal:
		return appendString(dst, v.String()), nil
	case *Object:
		return appendObject(dst, v)
	case map[string]any:
		return appendMap(dst, v)
	case []any:
		return appendArray(dst, v)
	}
	return dst, fmt.Errorf("write %T as JSON: not a value of an event", v)
}

func appendObject(dst []byte, o *Object) ([]byte, error) {
	if o == nil {
		return append(dst, "null"...), nil
	}
	dst = append(dst, '{')
	var err error
	for i, name := range o.Names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		if dst, err = AppendJSON(dst, o.Values[i]); err != nil {
			return dst, fmt.Errorf("%s: %w", name, err)
		}
	}
	return append(dst, '}'), nil
}

func appendMap(dst []byte, m map[string]any) ([]byte, error) {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	values := make([]any, len(names))
	for i, name := range names {
		values[i] = m[name]
	}
	return appendObject(dst, &Object{Names: names, Values: values})
}

func appendArray(dst []byte, a []any) ([]byte, error) {
	dst = append(dst, '[')
	var err error
	for i, v := range a {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = AppendJSON(dst, v); err != nil {
			return dst, fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return append(dst, ']'), nil
}

// appendFloat keeps a whole number recognisable as a float (2.0, not 2), and
// else prints the shortest text that reads back the same.
func appendFloat(dst []byte, f float64) []byte {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.AppendFloat(dst, f, 'f', 1, 64)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s) //nolint:errchkjson // a string always marshals
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// Text prints a scalar as plain text: as in JSON, without the quotes. It refuses
// null, and values that have no one text form (arrays, maps, objects).
func Text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case nil:
		return "", errors.New("null has no text")
	case []any, map[string]any, *Object:
		return "", fmt.Errorf("%T has no text", v)
	}
	b, err := AppendJSON(nil, v)
	if err != nil {
		return "", err
	}
	if len(b) > 1 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	return string(b), nil
}
