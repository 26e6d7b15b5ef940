package warehouse

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// fitter refuses numbers and times that are out of the column's range: the driver wraps
// them.
func (*clickHouse) fitter(columnType string) fitter { return clickHouseFitter(bareType(columnType)) }

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

func clickHouseFitter(name string, params []string) fitter {
	switch name {
	case "Int8":
		return integers[int8](math.MinInt8, math.MaxInt8)
	case "Int16":
		return integers[int16](math.MinInt16, math.MaxInt16)
	case "Int32":
		return integers[int32](math.MinInt32, math.MaxInt32)
	case "Int64":
		return integers[int64](math.MinInt64, math.MaxInt64)
	case "UInt8":
		return integers[uint8](0, math.MaxUint8)
	case "UInt16":
		return integers[uint16](0, math.MaxUint16)
	case "UInt32":
		return integers[uint32](0, math.MaxUint32)
	case "UInt64":
		return integers[uint64](0, math.MaxInt64)
	case "Bool":
		return only[bool]
	case "Float32":
		return floats[float32]
	case "Float64":
		return floats[float64]
	case "Decimal":
		return decimals(digits(params))
	case "Date", "Date32", "DateTime", "DateTime64":
		return times(timeRange(name))
	}
	// Text, and the types that the driver reads from text: UUID, Enum, IPv4.
	return fitText
}

// digits are the precision and the scale among a decimal type's parameters.
func digits(params []string) (precision, scale int32) {
	for i, n := range []*int32{&precision, &scale} {
		if i < len(params) {
			parsed, _ := strconv.ParseInt(params[i], 10, 32) // a server names its types well
			*n = int32(parsed)
		}
	}
	return precision, scale
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
