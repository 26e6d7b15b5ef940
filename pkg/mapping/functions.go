package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
	"github.com/itchyny/timefmt-go"

	"github.com/hms-sme/policysync/pkg/event"
)

// functions are what expressions can call beyond the CEL standard: CEL's own
// extensions for text, lists, sets, numbers and base64, and
//
//	timestamp.strftime(format[, zone])  text: C's strftime; zone as in getHours, UTC unless given
//	text.strptime(format[, zone])       timestamp: what strftime would have made of it
//	sha256(text or bytes)               text: the digest in lowercase hexadecimal digits
//
// Those of regular expressions are in regex.go.
var functions = []cel.EnvOption{
	ext.Strings(), ext.Lists(), ext.Sets(), ext.Math(), ext.Encoders(), ext.Bindings(), ext.TwoVarComprehensions(),
	cel.Function("strftime",
		cel.MemberOverload("timestamp_strftime", []*cel.Type{cel.TimestampType, cel.StringType}, cel.StringType,
			cel.BinaryBinding(func(t, format ref.Val) ref.Val { return strftime(t, format, types.String("UTC")) })),
		cel.MemberOverload("timestamp_strftime_zone", []*cel.Type{cel.TimestampType, cel.StringType, cel.StringType}, cel.StringType,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val { return strftime(args[0], args[1], args[2]) }))),
	cel.Function("strptime",
		cel.MemberOverload("string_strptime", []*cel.Type{cel.StringType, cel.StringType}, cel.TimestampType,
			cel.BinaryBinding(func(text, format ref.Val) ref.Val { return strptime(text, format, types.String("UTC")) })),
		cel.MemberOverload("string_strptime_zone", []*cel.Type{cel.StringType, cel.StringType, cel.StringType}, cel.TimestampType,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val { return strptime(args[0], args[1], args[2]) }))),
	cel.Function("sha256",
		cel.Overload("sha256_string", []*cel.Type{cel.StringType}, cel.StringType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return digest([]byte(native[string](v))) })),
		cel.Overload("sha256_bytes", []*cel.Type{cel.BytesType}, cel.StringType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return digest(native[[]byte](v)) }))),
}

// native is the Go value of an argument, whose type the overload has checked.
func native[T any](v ref.Val) T {
	return v.Value().(T) //nolint:forcetypeassert,errcheck // see above
}

func strftime(t, format, zone ref.Val) ref.Val {
	location, err := zoneOf(native[string](zone))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.String(timefmt.Format(native[time.Time](t).In(location), native[string](format)))
}

func strptime(text, format, zone ref.Val) ref.Val {
	location, err := zoneOf(native[string](zone))
	if err != nil {
		return types.WrapErr(err)
	}
	t, err := timefmt.ParseInLocation(native[string](text), native[string](format), location)
	if err != nil {
		return types.WrapErr(fmt.Errorf("strptime: %w", err))
	}
	return types.Timestamp{Time: t}
}

// zoneOf reads the name of a zone, or its offset from UTC, such as +05:30.
func zoneOf(name string) (*time.Location, error) {
	if t, err := time.Parse("-07:00", name); err == nil {
		return t.Location(), nil
	}
	location, err := event.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("there is no time zone %q: want a name such as America/New_York, or an offset such as -05:00", name)
	}
	return location, nil
}

// zoned are CEL's functions of a timestamp in a zone, with their overloads. CEL's own would
// read the zone's file at each call.
var zoned = map[string]string{
	overloads.TimeGetFullYear: overloads.TimestampToYearWithTz, overloads.TimeGetMonth: overloads.TimestampToMonthWithTz,
	overloads.TimeGetDayOfYear: overloads.TimestampToDayOfYearWithTz, overloads.TimeGetDayOfWeek: overloads.TimestampToDayOfWeekWithTz,
	overloads.TimeGetDayOfMonth: overloads.TimestampToDayOfMonthZeroBasedWithTz,
	overloads.TimeGetDate:       overloads.TimestampToDayOfMonthOneBasedWithTz,
	overloads.TimeGetHours:      overloads.TimestampToHoursWithTz, overloads.TimeGetMinutes: overloads.TimestampToMinutesWithTz,
	overloads.TimeGetSeconds: overloads.TimestampToSecondsWithTz, overloads.TimeGetMilliseconds: overloads.TimestampToMillisecondsWithTz,
}

func inZone(function, overload string) cel.EnvOption {
	return cel.Function(function, cel.MemberOverload(overload, []*cel.Type{cel.TimestampType, cel.StringType}, cel.IntType,
		cel.BinaryBinding(func(t, zone ref.Val) ref.Val {
			at, name := types.Timestamp{Time: native[time.Time](t)}, native[string](zone)
			if !strings.Contains(name, ":") { // no offset
				if location, err := event.LoadLocation(name); err == nil {
					return types.Timestamp{Time: at.In(location)}.Receive(function, overload, nil)
				}
			}
			return at.Receive(function, overload, []ref.Val{zone})
		})))
}

func digest(b []byte) ref.Val {
	sum := sha256.Sum256(b)
	return types.String(hex.EncodeToString(sum[:]))
}
