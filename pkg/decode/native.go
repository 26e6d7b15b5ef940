package decode

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/hms-sme/policysync/pkg/event"
)

// fromJSON makes what goavro encodes from JSON: from the plain form that
// [event.AppendJSON] writes, or from the default of a schema, in which bytes are
// text of code points up to 255 and numbers have no other form.
type fromJSON struct {
	branch    func(*event.Type) string
	isDefault bool
	depth     int
}

// nativeDefault is the default of a field.
func nativeDefault(f *event.Field, branch func(*event.Type) string) (any, error) {
	return fromJSON{branch: branch, isDefault: true}.text(f.Type, f.Default)
}

func (j fromJSON) text(t *event.Type, text []byte) (any, error) {
	v, err := parseJSON(text)
	if err != nil {
		return nil, err
	}
	return j.native(t, v)
}

// parseJSON reads one value and keeps its numbers as they are written.
func parseJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read JSON: text follows the value")
	}
	return v, nil
}

func (j fromJSON) native(t *event.Type, v any) (any, error) {
	if j.depth++; j.depth > maxNesting {
		return nil, errNesting
	}
	switch t.Kind {
	case event.Rec:
		return j.record(t, v)
	case event.Union:
		return j.union(t, v)
	case event.Array:
		return j.array(t, v)
	case event.Map:
		return j.mapping(t, v)
	case event.Bytes, event.Fixed:
		return j.bytes(t, v)
	case event.Int, event.Long:
		return j.integer(t, v)
	default:
		return simple(t, v)
	}
}

func simple(t *event.Type, v any) (any, error) {
	switch v := v.(type) {
	case nil:
		if t.Kind == event.Null {
			return v, nil
		}
	case bool:
		if t.Kind == event.Boolean {
			return v, nil
		}
	case string:
		if t.Kind == event.String || t.Kind == event.Enum && slices.Contains(t.Symbols, v) {
			return v, nil
		}
	case json.Number:
		if t.Kind == event.Float || t.Kind == event.Double {
			return v.Float64()
		}
	}
	return nil, mismatch(t, v)
}

func mismatch(t *event.Type, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(text) > 40 {
		text = append(text[:40:40], "…"...)
	}
	return fmt.Errorf("%s is no %s", text, describe(t))
}

func (j fromJSON) record(t *event.Type, v any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, mismatch(t, v)
	}
	for name := range m {
		if t.Field(name) == nil {
			return nil, below(name, fmt.Errorf("there is no such field in %s", describe(t)))
		}
	}
	native := make(map[string]any, len(t.Fields))
	for _, f := range t.Fields {
		x, err := j.field(f, m)
		if err != nil {
			return nil, below(f.Name, err)
		}
		native[f.Name] = x
	}
	return native, nil
}

func (j fromJSON) field(f *event.Field, m map[string]any) (any, error) {
	v, ok := m[f.Name]
	if ok {
		return j.native(f.Type, v)
	}
	if f.Default == nil {
		return nil, errors.New("the field is missing and has no default")
	}
	j.isDefault = true
	return j.text(f.Type, f.Default)
}

// union takes the first branch that the value fits.
func (j fromJSON) union(t *event.Type, v any) (any, error) {
	var first error
	for _, b := range t.Branches {
		x, err := j.native(b, v)
		switch {
		case err == nil && b.Kind == event.Null:
			return x, nil
		case err == nil:
			return map[string]any{j.branch(b): x}, nil
		case first == nil || b.Kind != event.Null && len(t.Branches) == 2:
			first = err // of a nullable type, the other branch says what is wrong
		}
	}
	return nil, first
}

func (j fromJSON) array(t *event.Type, v any) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, mismatch(t, v)
	}
	native := make([]any, len(list))
	for i, item := range list {
		x, err := j.native(t.Items, item)
		if err != nil {
			return nil, below("["+strconv.Itoa(i)+"]", err)
		}
		native[i] = x
	}
	return native, nil
}

func (j fromJSON) mapping(t *event.Type, v any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, mismatch(t, v)
	}
	native := make(map[string]any, len(m))
	for key, item := range m {
		x, err := j.native(t.Items, item)
		if err != nil {
			return nil, below(fmt.Sprintf("[%q]", key), err)
		}
		native[key] = x
	}
	return native, nil
}

func (j fromJSON) integer(t *event.Type, v any) (any, error) {
	var n int64
	var err error
	switch v := v.(type) {
	case json.Number:
		n, err = strconv.ParseInt(string(v), 10, 64)
	case string:
		if j.isDefault || t.Logical == "" {
			return nil, mismatch(t, v)
		}
		n, err = parseTime(t.Logical, v)
	default:
		return nil, mismatch(t, v)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", mismatch(t, v), err)
	}
	if t.Kind == event.Long {
		return n, nil
	}
	if n < math.MinInt32 || n > math.MaxInt32 {
		return nil, mismatch(t, v)
	}
	return int32(n), nil
}

func (j fromJSON) bytes(t *event.Type, v any) (any, error) {
	s, ok := v.(string)
	if number, isNumber := v.(json.Number); isNumber && t.Logical == event.LogicalDecimal && !j.isDefault {
		s, ok = string(number), true
	}
	if !ok {
		return nil, mismatch(t, v)
	}
	var b []byte
	var err error
	switch {
	case j.isDefault:
		b, err = codePoints(s)
	case t.Logical == event.LogicalDecimal:
		b, err = parseDecimal(t, s)
	case t.Logical == event.LogicalUUID:
		b, err = parseUUID(s)
	default:
		b, err = base64.StdEncoding.DecodeString(s)
	}
	if err == nil && t.Kind == event.Fixed && len(b) != t.Size {
		err = fmt.Errorf("%d bytes, want %d", len(b), t.Size)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", mismatch(t, v), err)
	}
	return b, nil
}
