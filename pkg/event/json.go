package event

import (
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// JSON returns v as [AppendJSON] writes it, in a slice of just its length: a document
// may wait long for its target.
func JSON(v any) (text []byte, err error) {
	err = write(v, func(written []byte) { text = slices.Clone(written) })
	return text, err
}

// JSONText returns what [JSON] does, as a string.
func JSONText(v any) (text string, err error) {
	err = write(v, func(written []byte) { text = string(written) })
	return text, err
}

// scratch is for what is being written, which else would grow from nothing each time.
// What one large value took is not kept.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

const maxScratch = 64 << 10

func write(v any, use func(written []byte)) error {
	b, _ := scratch.Get().(*[]byte)
	written, err := AppendJSON((*b)[:0], v)
	if err == nil {
		use(written)
	}
	if cap(written) <= maxScratch {
		*b = written
		scratch.Put(b)
	}
	return err
}

// AppendJSON appends v as JSON: objects in the order of their fields, maps by
// sorted key, integers as integers, decimals and bytes (base64) as strings,
// timestamps in RFC 3339 with up to nanoseconds, a date as 2006-01-02, a time of
// day as 15:04:05.999999. It refuses NaN and infinities, which JSON cannot hold,
// and types that no event has.
func AppendJSON(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case uint64:
		return strconv.AppendUint(dst, v, 10), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return dst, fmt.Errorf("write %v as JSON: not a JSON number", v)
		}
		return appendFloat(dst, v), nil
	case string:
		return appendString(dst, v), nil
	case []byte:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v)
		return append(dst, '"'), nil
	case time.Time:
		dst = append(dst, '"')
		dst = v.UTC().AppendFormat(dst, time.RFC3339Nano)
		return append(dst, '"'), nil
	case time.Duration:
		dst = append(dst, '"')
		dst = time.Unix(0, int64(v)).UTC().AppendFormat(dst, "15:04:05.999999")
		return append(dst, '"'), nil
	case Date:
		dst = append(dst, '"')
		dst = v.Time().AppendFormat(dst, time.DateOnly)
		return append(dst, '"'), nil
	case Decimal:
		return appendString(dst, v.String()), nil
	case *Object:
		return appendObject(dst, v)
	case map[string]any:
		return appendMap(dst, v)
	case []any:
		return appendArray(dst, v)
	}
	return dst, fmt.Errorf("write %T as JSON: not a value of an event", v)
}

func appendObject(dst []byte, o *Object) ([]byte, error) {
	if o == nil {
		return append(dst, "null"...), nil
	}
	dst = append(dst, '{')
	var err error
	for i, name := range o.Names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		if dst, err = AppendJSON(dst, o.Values[i]); err != nil {
			return dst, fmt.Errorf("%s: %w", name, err)
		}
	}
	return append(dst, '}'), nil
}

func appendMap(dst []byte, m map[string]any) ([]byte, error) {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	values := make([]any, len(names))
	for i, name := range names {
		values[i] = m[name]
	}
	return appendObject(dst, &Object{Names: names, Values: values})
}

func appendArray(dst []byte, a []any) ([]byte, error) {
	dst = append(dst, '[')
	var err error
	for i, v := range a {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = AppendJSON(dst, v); err != nil {
			return dst, fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return append(dst, ']'), nil
}

// appendFloat keeps a whole number recognisable as a float (2.0, not 2), and
// else prints the shortest text that reads back the same.
func appendFloat(dst []byte, f float64) []byte {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.AppendFloat(dst, f, 'f', 1, 64)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// short are the characters that JSON has a short escape for.
const short, shortAs = "\b\t\n\f\r", "btnfr"

// appendString quotes s. It escapes what package json does, and leaves < > & alone.
// What is no UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i, c := range s {
		if c >= ' ' && c != '"' && c != '\\' && c != utf8.RuneError && c != '\u2028' && c != '\u2029' {
			continue
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		if c == utf8.RuneError && size > 1 {
			continue // it stands there
		}
		dst = append(append(dst, s[from:i]...), '\\')
		if n := strings.IndexRune(short, c); n >= 0 {
			dst = append(dst, shortAs[n])
		} else if c == '"' || c == '\\' {
			dst = append(dst, byte(c))
		} else {
			dst = fmt.Appendf(dst, "u%04x", c)
		}
		from = i + size
	}
	return append(append(dst, s[from:]...), '"')
}
