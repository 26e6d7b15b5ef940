package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxSchemaNesting bounds how deep types may nest in a schema's text, so that no
// walk over a schema that a stranger registered overflows the stack.
const maxSchemaNesting = 200

// avroName is what Avro allows as a name: of a field, of a symbol, and of each
// part of a full name (Avro 1.12 specification, "Names").
var avroName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// primitives are the types without attributes of their own.
var primitives = []Kind{Null, Boolean, Int, Long, Float, Double, Bytes, String}

// ParseSchema reads an Avro schema (Avro 1.12 specification, "Schema
// Declaration"). Its error begins with the path of the fault: fields by name,
// [] for an array's items, {} for a map's values, <n> for a union's branch.
//
// A logical type that its underlying type cannot carry is ignored, as the
// specification demands, and so is one without a value of its own in this package
// (duration, big-decimal).
func ParseSchema(text string) (*Schema, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("parse schema: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parse schema: text follows the schema")
	}
	p := schemaParser{named: map[string]*Type{}}
	root, err := p.parse(v, scope{})
	if err != nil {
		return nil, fmt.Errorf("parse schema: %w", err)
	}
	return &Schema{Text: text, Root: root}, nil
}

type schemaParser struct {
	named map[string]*Type // by full name
}

// scope is where in the schema a type stands.
type scope struct {
	namespace string
	path      string
	depth     int
}

func (s scope) down(step string) scope {
	return scope{namespace: s.namespace, path: s.path + step, depth: s.depth + 1}
}

func (s scope) field(name string) scope {
	if s.path != "" {
		name = "." + name
	}
	return s.down(name)
}

func (s scope) errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if s.path == "" {
		return err
	}
	return fmt.Errorf("%s: %w", s.path, err)
}

func (p *schemaParser) parse(v any, s scope) (*Type, error) {
	if s.depth > maxSchemaNesting {
		return nil, fmt.Errorf("types nest deeper than %d", maxSchemaNesting)
	}
	switch v := v.(type) {
	case string:
		return p.reference(v, s)
	case []any:
		return p.union(v, s)
	case map[string]any:
		return p.declaration(v, s)
	}
	return nil, s.errorf("a type is a name, an object or an array")
}

func (p *schemaParser) reference(name string, s scope) (*Type, error) {
	if slices.Contains(primitives, Kind(name)) {
		return &Type{Kind: Kind(name)}, nil
	}
	if t := p.named[qualify(name, s.namespace)]; t != nil {
		return t, nil
	}
	if t := p.named[name]; t != nil {
		return t, nil
	}
	return nil, s.errorf("unknown type %q", name)
}

func (p *schemaParser) union(branches []any, s scope) (*Type, error) {
	if len(branches) == 0 {
		return nil, s.errorf("a union has no branches")
	}
	t := &Type{Kind: Union}
	seen := map[string]bool{}
	for i, v := range branches {
		bs := s.down("<" + strconv.Itoa(i) + ">")
		b, err := p.parse(v, bs)
		if err != nil {
			return nil, err
		}
		if b.Kind == Union {
			return nil, bs.errorf("a union stands directly inside a union")
		}
		name := b.Name
		if name == "" {
			name = string(b.Kind)
		}
		if seen[name] {
			return nil, bs.errorf("a union has %q twice", name)
		}
		seen[name] = true
		t.Branches = append(t.Branches, b)
	}
	return t, nil
}

func (p *schemaParser) declaration(m map[string]any, s scope) (*Type, error) {
	name, ok := m["type"].(string)
	if !ok {
		if m["type"] == nil {
			return nil, s.errorf(`an object without "type" is no type`)
		}
		s.depth++
		return p.parse(m["type"], s)
	}
	var t *Type
	var err error
	switch kind := Kind(name); kind {
	case Rec, Enum, Fixed:
		t, err = p.namedType(kind, m, s)
	case Array:
		t = &Type{Kind: Array}
		t.Items, err = p.parse(m["items"], s.down("[]"))
	case Map:
		t = &Type{Kind: Map}
		t.Items, err = p.parse(m["values"], s.down("{}"))
	default:
		t, err = p.reference(name, s)
		if err == nil && t.Name != "" {
			return t, nil // what else stands here does not alter the named type
		}
	}
	if err != nil {
		return nil, err
	}
	if err := setLogical(t, m); err != nil {
		return nil, s.errorf("%w", err)
	}
	return t, nil
}

func (p *schemaParser) namedType(kind Kind, m map[string]any, s scope) (*Type, error) {
	full, err := fullName(m, s.namespace)
	if err != nil {
		return nil, s.errorf("%s: %w", kind, err)
	}
	if p.named[full] != nil {
		return nil, s.errorf("%s %q is declared twice", kind, full)
	}
	s.namespace = ""
	if i := strings.LastIndexByte(full, '.'); i >= 0 {
		s.namespace = full[:i]
	}
	t := &Type{Kind: kind, Name: full}
	p.named[full] = t
	if t.Doc, err = text(m, "doc"); err != nil {
		return nil, s.errorf("%s %q: %w", kind, full, err)
	}
	if t.Aliases, err = names(m, "aliases"); err != nil {
		return nil, s.errorf("%s %q: %w", kind, full, err)
	}
	for i, alias := range t.Aliases {
		t.Aliases[i] = qualify(alias, s.namespace)
	}
	switch kind {
	case Rec:
		err = p.fields(t, m, s)
	case Enum:
		err = symbols(t, m)
	default:
		if t.Size, err = natural(m, "size"); err == nil && t.Size == 0 {
			err = errors.New("a fixed of no bytes holds nothing")
		}
	}
	if err != nil && kind != Rec {
		err = s.errorf("%s %q: %w", kind, full, err)
	}
	return t, err
}

func (p *schemaParser) fields(t *Type, m map[string]any, s scope) error {
	list, ok := m["fields"].([]any)
	if !ok {
		return s.errorf("record %q has no array of fields", t.Name)
	}
	for i, v := range list {
		f, err := p.field(v, s, i)
		if err != nil {
			return err
		}
		if t.Field(f.Name) != nil {
			return s.errorf("record %q has field %q twice", t.Name, f.Name)
		}
		t.Fields = append(t.Fields, f)
	}
	return nil
}

func (p *schemaParser) field(v any, s scope, index int) (*Field, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, s.errorf("field %d is no object", index)
	}
	name, _ := m["name"].(string)
	if !avroName.MatchString(name) {
		return nil, s.errorf("field %d: %q is no name", index, name)
	}
	s = s.field(name)
	if m["type"] == nil {
		return nil, s.errorf("a field has no type")
	}
	f := &Field{Name: name}
	var err error
	if f.Type, err = p.parse(m["type"], s); err != nil {
		return nil, err
	}
	if f.Doc, err = text(m, "doc"); err != nil {
		return nil, s.errorf("%w", err)
	}
	if f.Aliases, err = names(m, "aliases"); err != nil {
		return nil, s.errorf("%w", err)
	}
	for key, value := range m {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, s.errorf("%s: %w", key, err)
		}
		switch key {
		case "name", "type", "doc", "aliases", "order":
		case "default":
			f.Default = raw
		default:
			if f.Props == nil {
				f.Props = map[string]json.RawMessage{}
			}
			f.Props[key] = raw
		}
	}
	return f, nil
}

func symbols(t *Type, m map[string]any) error {
	var err error
	if t.Symbols, err = names(m, "symbols"); err != nil {
		return err
	}
	if len(t.Symbols) == 0 {
		return errors.New("no symbols")
	}
	for i, symbol := range t.Symbols {
		if !avroName.MatchString(symbol) {
			return fmt.Errorf("%q is no symbol", symbol)
		}
		if slices.Contains(t.Symbols[:i], symbol) {
			return fmt.Errorf("symbol %q stands twice", symbol)
		}
	}
	if t.Default, err = text(m, "default"); err != nil {
		return err
	}
	if t.Default != "" && !slices.Contains(t.Symbols, t.Default) {
		return fmt.Errorf("default %q is none of its symbols", t.Default)
	}
	return nil
}

// qualify makes a full name of one that may lack its namespace.
func qualify(name, namespace string) string {
	if namespace == "" || strings.Contains(name, ".") {
		return name
	}
	return namespace + "." + name
}

func fullName(m map[string]any, enclosing string) (string, error) {
	name, err := text(m, "name")
	if err != nil {
		return "", err
	}
	if _, ok := m["namespace"]; ok {
		if enclosing, err = text(m, "namespace"); err != nil {
			return "", err
		}
	}
	full := qualify(name, enclosing)
	for part := range strings.SplitSeq(full, ".") {
		if !avroName.MatchString(part) {
			return "", fmt.Errorf("%q is no name", full)
		}
	}
	if slices.Contains(primitives, Kind(full)) {
		return "", fmt.Errorf("%q is the name of a primitive type", full)
	}
	return full, nil
}

func text(m map[string]any, key string) (string, error) {
	v, ok := m[key]
	if !ok || v == nil {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s is no string", key)
	}
	return s, nil
}

func names(m map[string]any, key string) ([]string, error) {
	v, ok := m[key]
	if !ok || v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s is no array", key)
	}
	out := make([]string, len(list))
	for i, item := range list {
		if out[i], ok = item.(string); !ok {
			return nil, fmt.Errorf("%s[%d] is no string", key, i)
		}
	}
	return out, nil
}

func natural(m map[string]any, key string) (int, error) {
	number, _ := m[key].(json.Number)
	n, err := strconv.ParseInt(string(number), 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s %v is no natural number", key, m[key])
	}
	return int(n), nil
}
