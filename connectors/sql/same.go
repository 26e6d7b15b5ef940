package sql

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// plain is how a value of a driver reads, for names and for people.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case bool:
		if v {
			return "1" // as databases without booleans have it
		}
		return "0"
	}
	return fmt.Sprint(v)
}

// canonical is the text of a value that a column of the type tells from others: not by
// the zeros, zone, spaces or case that it does not keep.
func (t columnType) canonical(v any) string {
	text := plain(v)
	switch t.family {
	case integers, decimals:
		if r, ok := new(big.Rat).SetString(text); ok {
			digits, _ := r.FloatPrec()
			return r.FloatString(digits)
		}
	case days:
		if at, ok := moment(text); ok {
			return at.Format(time.DateOnly)
		}
	case moments, clocks:
		if at, ok := moment(text); ok {
			return at.Format(time.RFC3339Nano)
		}
	case texts:
		if t.padded {
			return strings.TrimRight(text, " ")
		}
	case booleans, floats, binaries, documents, anything:
		if strings.EqualFold(t.name, "uuid") {
			return strings.ToLower(text)
		}
	}
	return text
}

// same reports whether a column of the type, given the argument, holds what was read
// back: databases keep the digits, the fraction of a second and the layout that the
// type has room for.
func (t columnType) same(argument, held any) bool {
	if argument == nil || held == nil {
		return argument == nil && held == nil
	}
	want, have := t.canonical(argument), t.canonical(held)
	if want == have {
		return true
	}
	switch t.family {
	case decimals:
		return t.precision > 0 && sameNumber(want, have, t.scale)
	case booleans:
		a, err1 := strconv.ParseBool(want)
		b, err2 := strconv.ParseBool(have)
		return err1 == nil && err2 == nil && a == b
	case floats:
		a, err1 := strconv.ParseFloat(want, 64)
		b, err2 := strconv.ParseFloat(have, 64)
		return err1 == nil && err2 == nil && (a == b || strings.HasPrefix(t.name, "real") && float32(a) == float32(b) ||
			strings.HasPrefix(t.name, "float") && float32(a) == float32(b))
	case moments, clocks:
		return sameTime(want, have, t)
	case documents:
		return sameDocument(want, have)
	case texts, integers, days, binaries, anything:
	}
	return false
}

// sameNumber compares two numbers to so many digits after the point.
func sameNumber(want, have string, scale int) bool {
	a, ok1 := new(big.Rat).SetString(want)
	b, ok2 := new(big.Rat).SetString(have)
	return ok1 && ok2 && a.FloatString(scale) == b.FloatString(scale)
}

var layouts = []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02", "15:04:05.999999999"}

var fraction = regexp.MustCompile(`\((\d)\)`)

func sameTime(want, have string, t columnType) bool {
	a, ok1 := moment(want)
	b, ok2 := moment(have)
	if !ok1 || !ok2 {
		return false
	}
	unit := time.Microsecond
	if m := fraction.FindStringSubmatch(t.name); m != nil {
		unit = time.Second
		for range m[1][0] - '0' {
			unit /= 10
		}
	} else if t.name == "datetime" {
		unit = time.Second // of MySQL, without digits
	}
	return a.Round(unit).Equal(b) || a.Truncate(unit).Equal(b)
}

func moment(text string) (time.Time, bool) {
	for _, layout := range layouts {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), true
		}
	}
	return time.Time{}, false
}

func sameDocument(want, have string) bool {
	var a, b any
	for text, into := range map[string]*any{want: &a, have: &b} {
		d := json.NewDecoder(bytes.NewReader([]byte(text)))
		d.UseNumber()
		if d.Decode(into) != nil {
			return false
		}
	}
	return reflect.DeepEqual(a, b)
}
