package warehouse

import (
	"fmt"
	"math"
	"math/big"
	"time"

	"github.com/parquet-go/parquet-go"

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

// fit makes the value of a column; nil is null.
func (*parquetFiles) fit(v any, columnType string) (any, error) {
	if v == nil {
		return parquet.NullValue(), nil
	}
	fitted, err := fitParquet(v, columnType)
	if err != nil {
		return nil, fmt.Errorf("write as %s: %w", columnType, err)
	}
	return fitted, nil
}

func fitParquet(v any, columnType string) (value parquet.Value, err error) {
	switch columnType {
	case parquetBoolean:
		if b, ok := v.(bool); ok {
			return parquet.BooleanValue(b), nil
		}
		return value, errKind(v)
	case parquetInt32:
		n, err := fitInteger(v, "Int32")
		i, _ := n.(int32)
		return parquet.Int32Value(i), err
	case parquetInt64:
		n, err := fitInteger(v, "Int64")
		i, _ := n.(int64)
		return parquet.Int64Value(i), err
	case parquetFloat:
		n, err := fitFloat(v, "Float32")
		f, _ := n.(float32)
		return parquet.FloatValue(f), err
	case parquetDouble:
		n, err := fitFloat(v, "Float64")
		f, _ := n.(float64)
		return parquet.DoubleValue(f), err
	case parquetBytes:
		if b, ok := v.([]byte); ok {
			return parquet.ByteArrayValue(b), nil
		}
		return value, errKind(v)
	case parquetDate:
		if d, ok := v.(event.Date); ok {
			return parquet.Int32Value(int32(d)), nil
		}
		return value, errKind(v)
	case parquetMicros, localMicros, parquetNanos, localNanos:
		return fitParquetTime(v, columnType)
	}
	if precision, scale, ok := decimalOf(columnType); ok {
		return fitParquetDecimal(v, precision, scale)
	}
	s, err := text(v)
	return parquet.ByteArrayValue([]byte(s)), err
}

func fitParquetTime(v any, columnType string) (value parquet.Value, err error) {
	t, ok := v.(time.Time)
	if !ok {
		return value, errKind(v)
	}
	if columnType == parquetMicros || columnType == localMicros {
		return parquet.Int64Value(t.UnixMicro()), nil
	}
	if first, last := time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64); t.Before(first) || t.After(last) {
		return value, errRange(t.UTC().Format(time.RFC3339Nano))
	}
	return parquet.Int64Value(t.UnixNano()), nil
}

// fitParquetDecimal writes the unscaled number as two's complement, big end first.
func fitParquetDecimal(v any, precision, scale int) (value parquet.Value, err error) {
	d, err := fitDecimal(v, []string{fmt.Sprint(precision), fmt.Sprint(scale)})
	if err != nil {
		return value, err
	}
	unscaled := d.Shift(int32(scale)).BigInt()
	size := decimalBytes(precision)
	if unscaled.Sign() < 0 {
		unscaled.Add(unscaled, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	}
	return parquet.FixedLenByteArrayValue(unscaled.FillBytes(make([]byte, size))), nil
}
