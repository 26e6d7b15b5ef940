package event

import "math"

// Logical types that a value of its own stands for (Avro 1.12 specification,
// "Logical Types").
const (
	LogicalDecimal         = "decimal"
	LogicalUUID            = "uuid"
	LogicalDate            = "date"
	LogicalTimeMillis      = "time-millis"
	LogicalTimeMicros      = "time-micros"
	LogicalTimestampMillis = "timestamp-millis"
	LogicalTimestampMicros = "timestamp-micros"
	LogicalTimestampNanos  = "timestamp-nanos"
	LogicalLocalMillis     = "local-timestamp-millis"
	LogicalLocalMicros     = "local-timestamp-micros"
	LogicalLocalNanos      = "local-timestamp-nanos"
)

// maxPrecision bounds a decimal's digits: to print 10^-scale must not be a way to
// stop the process.
const maxPrecision = 10_000

// setLogical reads the logical type that stands beside t, if t can carry it.
func setLogical(t *Type, m map[string]any) error {
	name, err := text(m, "logicalType")
	if err != nil {
		return err
	}
	var carries bool
	switch name {
	case LogicalDecimal:
		precision, perr := natural(m, "precision")
		scale, serr := 0, error(nil)
		if m["scale"] != nil {
			scale, serr = natural(m, "scale")
		}
		carries = perr == nil && serr == nil && precision > 0 &&
			precision <= maxPrecision && scale <= precision &&
			(t.Kind == Bytes || t.Kind == Fixed && precision <= digits(t.Size))
		if carries {
			t.Precision, t.Scale = precision, scale
		}
	case LogicalUUID:
		carries = t.Kind == String || t.Kind == Fixed && t.Size == 16
	case LogicalDate, LogicalTimeMillis:
		carries = t.Kind == Int
	case LogicalTimeMicros, LogicalTimestampMillis, LogicalTimestampMicros, LogicalTimestampNanos,
		LogicalLocalMillis, LogicalLocalMicros, LogicalLocalNanos:
		carries = t.Kind == Long
	}
	if carries {
		t.Logical = name
	}
	return nil
}

// digits is how many decimal digits always fit into a two's complement number of
// size bytes.
func digits(size int) int {
	return int(math.Floor(math.Log10(2) * float64(8*size-1)))
}
