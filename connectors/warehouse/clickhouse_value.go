package warehouse

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/hms-sme/policysync/pkg/event"
)

// fit turns a value into what the driver takes for a column of the type. The driver
// wraps numbers and times that are out of a column's range, so they are refused here.
// Null goes through: the driver writes the default into a column that is not nullable.
func (*clickHouse) fit(v any, columnType string) (any, error) {
	if v == nil {
		return nil, nil
	}
	name, params := bareType(columnType)
	fitted, err := fitNamed(v, name, params)
	if err != nil {
		return nil, fmt.Errorf("write as %s: %w", columnType, err)
	}
	return fitted, nil
}

// bareType splits Nullable(Decimal(9, 2)) into Decimal and its parameters.
func bareType(columnType string) (name string, params []string) {
	for _, wrapper := range []string{"LowCardinality(", "Nullable("} {
		if rest, ok := strings.CutPrefix(columnType, wrapper); ok {
			columnType = strings.TrimSuffix(rest, ")")
		}
	}
	name, rest, ok := strings.Cut(columnType, "(")
	if ok {
		params = strings.Split(strings.TrimSuffix(rest, ")"), ",")
		for i := range params {
			params[i] = strings.TrimSpace(params[i])
		}
	}
	return name, params
}

func fitNamed(v any, name string, params []string) (any, error) {
	switch name {
	case "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64":
		return fitInteger(v, name)
	case "Bool":
		if b, ok := v.(bool); ok {
			return b, nil
		}
		return nil, errKind(v)
	case "Float32", "Float64":
		return fitFloat(v, name)
	case "Decimal":
		return fitDecimal(v, params)
	case "Date", "Date32", "DateTime", "DateTime64":
		first, last := timeRange(name)
		return fitTime(v, first, last)
	}
	// Text, and the types that the driver reads from text: UUID, Enum, IPv4.
	return text(v)
}

func errKind(v any) error { return fmt.Errorf("a value of type %T does not fit", v) }

func fitInteger(v any, name string) (any, error) {
	var n int64
	switch v := v.(type) {
	case int64:
		n = v
	case bool:
		if v {
			n = 1
		}
	case time.Time:
		n = v.UnixMicro()
	case time.Duration:
		n = v.Microseconds()
	case event.Date:
		n = int64(v)
	default:
		return nil, errKind(v)
	}
	digits, signed := strings.CutPrefix(name, "Int")
	if !signed {
		digits = strings.TrimPrefix(name, "UInt")
	}
	bits, err := strconv.Atoi(digits)
	if err != nil {
		return nil, err
	}
	low, high := int64(math.MinInt64)>>(64-bits), int64(math.MaxInt64)>>(64-bits)
	if !signed {
		low, high = 0, int64(math.MaxInt64)
		if bits < 64 {
			high = 1<<bits - 1
		}
	}
	if n < low || n > high {
		return nil, errRange(n)
	}
	switch name {
	case "Int8":
		return int8(n), nil
	case "Int16":
		return int16(n), nil
	case "Int32":
		return int32(n), nil
	case "UInt8":
		return uint8(n), nil
	case "UInt16":
		return uint16(n), nil
	case "UInt32":
		return uint32(n), nil
	case "UInt64":
		return uint64(n), nil
	}
	return n, nil
}

func errRange(v any) error { return fmt.Errorf("%v is out of range", v) }

func fitFloat(v any, name string) (any, error) {
	var f float64
	switch v := v.(type) {
	case float64:
		f = v
	case int64:
		f = float64(v)
	default:
		return nil, errKind(v)
	}
	if name == "Float64" {
		return f, nil
	}
	if math.Abs(f) > math.MaxFloat32 && !math.IsInf(f, 0) {
		return nil, errRange(f)
	}
	return float32(f), nil
}

// fitDecimal refuses what the column would round or has no digits for.
func fitDecimal(v any, params []string) (d decimal.Decimal, err error) {
	switch v := v.(type) {
	case event.Decimal:
		if d, err = decimal.NewFromString(v.String()); err != nil {
			return d, err
		}
	case int64:
		d = decimal.NewFromInt(v)
	default:
		return d, errKind(v)
	}
	if len(params) != 2 {
		return d, fmt.Errorf("decimal has the parameters %q, want precision and scale", params)
	}
	precision, err := strconv.Atoi(params[0])
	if err != nil {
		return d, err
	}
	scale, err := strconv.Atoi(params[1])
	if err != nil {
		return d, err
	}
	//nolint:gosec // the server's own type has at most two digits each
	if !d.Equal(d.Truncate(int32(scale))) || d.Abs().Cmp(decimal.New(1, int32(precision-scale))) >= 0 {
		return d, errRange(d)
	}
	return d, nil
}

// The first and the last moment, exclusive, of each type, after ClickHouse's
// documentation of its types. DateTime64's last is the driver's: it counts
// nanoseconds in 64 bits, whatever the precision of the column.
func timeRange(name string) (first, last time.Time) {
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	switch name {
	case "Date":
		return day(1970, 1, 1), day(2149, 6, 7)
	case "Date32":
		return day(1900, 1, 1), day(2300, 1, 1)
	case "DateTime":
		return day(1970, 1, 1), day(2106, 2, 7)
	}
	return day(1900, 1, 1), day(2262, 4, 11)
}

// fitTime takes what is not before first and before last.
func fitTime(v any, first, last time.Time) (any, error) {
	var t time.Time
	switch v := v.(type) {
	case time.Time:
		t = v.UTC()
	case event.Date:
		t = v.Time()
	default:
		return nil, errKind(v)
	}
	if t.Before(first) || !t.Before(last) {
		return nil, errRange(t.Format(time.RFC3339Nano))
	}
	return t, nil
}
