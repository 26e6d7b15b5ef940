package config

import (
	"cmp"
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/mapping"
)

// setScalar reads text into v, a scalar.
func setScalar(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration: want a number with a unit, such as 30s or 5m", text)
		}
		*p = d
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is no whole number, or too large", text)
		}
		v.SetInt(n)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || f-f != 0 {
			return fmt.Errorf("%q is no number", text)
		}
		v.SetFloat(f)
	default:
		panic(fmt.Sprintf("config: a field of type %s cannot be decoded", v.Type()))
	}
	return nil
}

// bounded holds v against the tags min, max and oneof; text is how the
// file gives v. The message is empty if all is well.
func bounded(v reflect.Value, tag reflect.StructTag, text string) string {
	if low, ok := tag.Lookup("min"); ok && compare(v, low) < 0 {
		return fmt.Sprintf("%q is less than the minimum, %s", text, low)
	}
	if high, ok := tag.Lookup("max"); ok && compare(v, high) > 0 {
		return fmt.Sprintf("%q is more than the maximum, %s", text, high)
	}
	words := strings.Fields(tag.Get("oneof"))
	if len(words) > 0 && !slices.Contains(words, text) {
		return fmt.Sprintf("%q is not one of %s%s", text, strings.Join(words, ", "), didYouMean(text, words))
	}
	return ""
}

// compare compares v with a bound written as v's own type is.
func compare(v reflect.Value, bound string) int {
	b := reflect.New(v.Type()).Elem()
	if err := setScalar(b, bound); err != nil {
		panic(fmt.Sprintf("config: bound %q: %v", bound, err))
	}
	if v.CanFloat() {
		return cmp.Compare(v.Float(), b.Float())
	}
	return cmp.Compare(v.Int(), b.Int())
}

// didYouMean suggests the nearest of the words, or nothing if none is near.
func didYouMean(word string, words []string) string {
	if near := mapping.Nearest(word, words); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}
