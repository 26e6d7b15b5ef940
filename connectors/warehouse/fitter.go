package warehouse

import (
	"fmt"
	"math"
	"time"

	"github.com/shopspring/decimal"

	"github.com/hms-sme/policysync/pkg/event"
)

// fitter turns a value of an event into the driver's, for the columns of one type. It
// refuses what they cannot hold. The engines' own are not asked about null.
type fitter func(v any) (any, error)

// fitterOf is the engine's, whose errors name the type. Null stays null: ClickHouse's
// driver writes the default into a column that is not nullable.
func fitterOf(e engine, columnType string) fitter {
	fit := e.fitter(columnType)
	return func(v any) (any, error) {
		if v == nil {
			return nil, nil
		}
		fitted, err := fit(v)
		if err != nil {
			return nil, fmt.Errorf("write as %s: %w", columnType, err)
		}
		return fitted, nil
	}
}

func errKind(v any) error { return fmt.Errorf("a value of type %T does not fit", v) }

func errRange(v any) error { return fmt.Errorf("%v is out of range", v) }

// only takes the values of one kind as they are.
func only[T any](v any) (any, error) {
	if _, ok := v.(T); ok {
		return v, nil
	}
	return nil, errKind(v)
}

func fitText(v any) (any, error) {
	if _, ok := v.(string); ok {
		return v, nil
	}
	return text(v)
}

// integers takes what is a whole number from low to high.
func integers[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](low, high int64) fitter {
	return func(v any) (any, error) {
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
		if n < low || n > high {
			return nil, errRange(n)
		}
		return T(n), nil
	}
}

func floats[T float32 | float64](v any) (any, error) {
	var f float64
	switch v := v.(type) {
	case float64:
		f = v
	case int64:
		f = float64(v)
	default:
		return nil, errKind(v)
	}
	if t := T(f); !math.IsInf(float64(t), 0) || math.IsInf(f, 0) {
		return t, nil
	}
	return nil, errRange(f)
}

// decimals refuses what has more digits than the column, before or after the point.
func decimals(precision, scale int32) fitter {
	limit := decimal.New(1, precision-scale)
	return func(v any) (any, error) {
		var d decimal.Decimal
		switch v := v.(type) {
		case event.Decimal:
			if v.Unscaled != nil {
				d = decimal.NewFromBigInt(v.Unscaled, int32(-v.Scale))
			}
		case int64:
			d = decimal.NewFromInt(v)
		default:
			return nil, errKind(v)
		}
		if !d.Equal(d.Truncate(scale)) || d.Abs().Cmp(limit) >= 0 {
			return nil, errRange(d)
		}
		return d, nil
	}
}

// times takes what is not before first and before last.
func times(first, last time.Time) fitter {
	return func(v any) (any, error) {
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
}
