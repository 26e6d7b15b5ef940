package decode

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/hms-sme/policysync/pkg/event"
)

// promotions says which kinds a kind may be read as, besides itself (Avro 1.12
// specification, "Schema Resolution").
var promotions = map[event.Kind][]event.Kind{
	event.Int:    {event.Long, event.Float, event.Double},
	event.Long:   {event.Float, event.Double},
	event.Float:  {event.Double},
	event.String: {event.Bytes},
	event.Bytes:  {event.String},
}

// leaf converts values without parts. The reader's logical type says what a number
// means; but where both sides have one they must agree: milliseconds are never
// read as microseconds.
func leaf(writer, reader *event.Type) (convert, error) {
	if writer.Logical != "" && reader.Logical != "" &&
		(writer.Logical != reader.Logical || writer.Precision != reader.Precision || writer.Scale != reader.Scale) {
		return nil, fmt.Errorf("%s cannot be read as %s", numeric(writer), numeric(reader))
	}
	physical, logical := physical(writer.Kind, reader.Kind), logical(reader)
	switch {
	case logical == nil:
		return physical, nil
	case physical == nil:
		return logical, nil
	}
	return func(v any) (any, error) {
		v, err := physical(v)
		if err != nil {
			return nil, err
		}
		return logical(v)
	}, nil
}

func numeric(t *event.Type) string {
	if t.Logical == event.LogicalDecimal {
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale)
	}
	return describe(t)
}

// physical takes goavro's own types to int64, float64, string and []byte.
func physical(writer, reader event.Kind) convert {
	switch reader {
	case event.Int:
		return widen
	case event.Long:
		if writer == event.Int {
			return widen
		}
	case event.Float:
		return func(v any) (any, error) { return float64(float32(number(v))), nil }
	case event.Double:
		if writer != event.Double {
			return func(v any) (any, error) { return number(v), nil }
		}
	case event.Bytes, event.Fixed:
		if writer == event.String {
			return func(v any) (any, error) { return []byte(as[string](v)), nil }
		}
		// They are a part of the record's bytes, which are not for a connector to change.
		return func(v any) (any, error) { return slices.Clone(as[[]byte](v)), nil }
	case event.String:
		if writer == event.Bytes {
			return func(v any) (any, error) {
				if b := as[[]byte](v); utf8.Valid(b) {
					return string(b), nil
				}
				return nil, errors.New("the writer's bytes are not UTF-8, the reader has a string")
			}
		}
	default:
	}
	return nil
}

func widen(v any) (any, error) {
	return int64(as[int32](v)), nil
}

func number(v any) float64 {
	switch v := v.(type) {
	case int32:
		return float64(v)
	case int64:
		return float64(v)
	case float32:
		return float64(v)
	}
	return as[float64](v)
}

const day = 24 * time.Hour

// logical is what the number or the bytes of a reader's type mean, nil for themselves.
func logical(t *event.Type) convert {
	if mean := logicalInt(t); mean != nil {
		return func(v any) (any, error) { return mean(as[int64](v)) }
	}
	if mean := logicalBytes(t); mean != nil {
		return func(v any) (any, error) { return mean(as[[]byte](v)) }
	}
	return nil
}

func logicalInt(t *event.Type) func(int64) (any, error) {
	switch t.Logical {
	case event.LogicalDate:
		return func(n int64) (any, error) { return event.Date(n), nil }
	case event.LogicalTimeMillis:
		return timeOfDay(time.Millisecond)
	case event.LogicalTimeMicros:
		return timeOfDay(time.Microsecond)
	case event.LogicalTimestampMillis, event.LogicalLocalMillis:
		return func(n int64) (any, error) { return time.UnixMilli(n).UTC(), nil }
	case event.LogicalTimestampMicros, event.LogicalLocalMicros:
		return func(n int64) (any, error) { return time.UnixMicro(n).UTC(), nil }
	case event.LogicalTimestampNanos, event.LogicalLocalNanos:
		return func(n int64) (any, error) { return time.Unix(0, n).UTC(), nil }
	}
	return nil
}

func logicalBytes(t *event.Type) func([]byte) (any, error) {
	switch {
	case t.Logical == event.LogicalDecimal:
		return func(b []byte) (any, error) {
			if len(b) > t.Precision/2+8 { // a byte holds more than two digits; some writers pad
				return nil, fmt.Errorf("%d bytes are too many for a decimal of %d digits", len(b), t.Precision)
			}
			return event.Decimal{Unscaled: signed(b), Scale: t.Scale}, nil
		}
	case t.Logical == event.LogicalUUID && t.Kind == event.Fixed:
		return func(b []byte) (any, error) {
			return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]), nil
		}
	}
	return nil
}

func timeOfDay(unit time.Duration) func(int64) (any, error) {
	return func(n int64) (any, error) {
		if n < 0 || n >= int64(day/unit) {
			return nil, fmt.Errorf("%d × %s is no time of a day", n, unit)
		}
		return time.Duration(n) * unit, nil
	}
}

// signed reads a two's complement number, its highest byte first.
func signed(b []byte) *big.Int {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}

// signedBytes writes n in two's complement.
func signedBytes(n *big.Int) []byte {
	size := n.BitLen()/8 + 1 // one bit more, for the sign
	if n.Sign() < 0 {
		n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	}
	return n.FillBytes(make([]byte, size))
}
