package warehouse

import (
	"fmt"
	"math"
	"math/big"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/shopspring/decimal"

	"github.com/hms-sme/policysync/pkg/event"
)

// The types of columns in Parquet files, in the words of its specification.
const (
	parquetBoolean = "BOOLEAN"
	parquetInt32   = "INT32"
	parquetInt64   = "INT64"
	parquetFloat   = "FLOAT"
	parquetDouble  = "DOUBLE"
	parquetBytes   = "BYTE_ARRAY"
	parquetString  = "STRING"
	parquetDate    = "DATE"
	parquetMicros  = "TIMESTAMP(MICROS, UTC)"
	parquetNanos   = "TIMESTAMP(NANOS, UTC)"
	localMicros    = "TIMESTAMP(MICROS, local)"
	localNanos     = "TIMESTAMP(NANOS, local)"
	parquetDecimal = "DECIMAL(%d, %d)"
)

// parquetType is the type of a column for values of type t.
func parquetType(t *event.Type) string {
	if t == nil {
		return parquetString
	}
	switch t.Logical {
	case event.LogicalDecimal:
		if t.Precision <= 38 { // what readers know
			return fmt.Sprintf(parquetDecimal, t.Precision, t.Scale)
		}
		return parquetString
	case event.LogicalDate:
		return parquetDate
	case event.LogicalTimestampMillis, event.LogicalTimestampMicros:
		return parquetMicros
	case event.LogicalTimestampNanos:
		return parquetNanos
	case event.LogicalLocalMillis, event.LogicalLocalMicros:
		return localMicros
	case event.LogicalLocalNanos:
		return localNanos
	case "":
	default:
		return parquetString
	}
	switch t.Kind {
	case event.Boolean:
		return parquetBoolean
	case event.Int:
		return parquetInt32
	case event.Long:
		return parquetInt64
	case event.Float:
		return parquetFloat
	case event.Double:
		return parquetDouble
	case event.Bytes, event.Fixed:
		return parquetBytes
	default:
		return parquetString
	}
}

func parquetNode(name string) parquet.Node {
	switch name {
	case parquetBoolean:
		return parquet.Leaf(parquet.BooleanType)
	case parquetInt32:
		return parquet.Leaf(parquet.Int32Type)
	case parquetInt64:
		return parquet.Leaf(parquet.Int64Type)
	case parquetFloat:
		return parquet.Leaf(parquet.FloatType)
	case parquetDouble:
		return parquet.Leaf(parquet.DoubleType)
	case parquetBytes:
		return parquet.Leaf(parquet.ByteArrayType)
	case parquetDate:
		return parquet.Date()
	case parquetMicros, localMicros:
		return parquet.TimestampAdjusted(parquet.Microsecond, name == parquetMicros)
	case parquetNanos, localNanos:
		return parquet.TimestampAdjusted(parquet.Nanosecond, name == parquetNanos)
	}
	if precision, scale, ok := decimalOf(name); ok {
		return parquet.Decimal(scale, precision, parquet.FixedLenByteArrayType(decimalBytes(precision)))
	}
	return parquet.String()
}

func decimalOf(name string) (precision, scale int, ok bool) {
	n, err := fmt.Sscanf(name, parquetDecimal, &precision, &scale)
	return precision, scale, err == nil && n == 2
}

// decimalBytes is how many bytes hold every number of so many digits, with its sign.
func decimalBytes(precision int) int {
	return int(math.Ceil((float64(precision)*math.Log2(10) + 1) / 8))
}

// fitter makes the value of a column.
func (*parquetFiles) fitter(columnType string) fitter {
	switch columnType {
	case parquetBoolean:
		return as(only[bool], parquet.BooleanValue)
	case parquetInt32:
		return as(integers[int32](math.MinInt32, math.MaxInt32), parquet.Int32Value)
	case parquetInt64:
		return as(integers[int64](math.MinInt64, math.MaxInt64), parquet.Int64Value)
	case parquetFloat:
		return as(floats[float32], parquet.FloatValue)
	case parquetDouble:
		return as(floats[float64], parquet.DoubleValue)
	case parquetBytes:
		return as(only[[]byte], parquet.ByteArrayValue)
	case parquetDate:
		return as(only[event.Date], func(d event.Date) parquet.Value { return parquet.Int32Value(int32(d)) })
	case parquetMicros, localMicros:
		return as(only[time.Time], func(t time.Time) parquet.Value { return parquet.Int64Value(t.UnixMicro()) })
	case parquetNanos, localNanos:
		return as(fitNanos, parquet.Int64Value)
	}
	if precision, scale, ok := decimalOf(columnType); ok {
		size := decimalBytes(precision)
		return as(decimals(int32(precision), int32(scale)), func(d decimal.Decimal) parquet.Value {
			return parquetNumber(d.Shift(int32(scale)).BigInt(), size)
		})
	}
	return as(fitText, func(s string) parquet.Value { return parquet.ByteArrayValue([]byte(s)) })
}

// as makes Parquet's values of what fit returns.
func as[T any](fit fitter, value func(T) parquet.Value) fitter {
	return func(v any) (any, error) {
		fitted, err := fit(v)
		if err != nil {
			return nil, err
		}
		t, _ := fitted.(T)
		return value(t), nil
	}
}

func fitNanos(v any) (any, error) {
	t, ok := v.(time.Time)
	if !ok {
		return nil, errKind(v)
	}
	if first, last := time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64); t.Before(first) || t.After(last) {
		return nil, errRange(t.UTC().Format(time.RFC3339Nano))
	}
	return t.UnixNano(), nil
}

// parquetNumber writes n as two's complement of a size in bytes, big end first. It may
// change n.
func parquetNumber(n *big.Int, size int) parquet.Value {
	if n.Sign() < 0 {
		n.Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	}
	return parquet.FixedLenByteArrayValue(n.FillBytes(make([]byte, size)))
}
