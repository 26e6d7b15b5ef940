package event

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
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
func (o *Object) MarshalJSON() ([]byte, error) { return JSON(o) }

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
	sign, digits := "", d.Unscaled.String()
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	digits = strings.Repeat("0", max(0, d.Scale+1-len(digits))) + digits
	point := len(digits) - d.Scale
	return sign + digits[:point] + "." + digits[point:]
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
