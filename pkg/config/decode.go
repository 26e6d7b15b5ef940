package config

import (
	"cmp"
	"encoding"
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml/ast"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Aliases can make a small file large, or endless; these bounds end that.
const (
	maxDepth  = 100
	maxValues = 100_000
)

// decoder fills structs from a syntax tree and collects mistakes.
type decoder struct {
	src      *source
	registry connector.Registry
	env      func(string) (string, bool)
	mistakes []Mistake
	// places tells where the key of each path stands, for rules that find
	// mistakes after decoding.
	places        map[string]connector.Place
	depth, values int
	// exhausted ends decoding once aliases have made too much of the file.
	exhausted bool
}

// scalarReader is what a struct or a list implements if the file may give a
// single scalar in its stead.
type scalarReader interface{ UnmarshalScalar(text string) error }

// entryReader is what the items of a list implement if the file gives the list as
// a mapping from names, see [connector.Named].
type entryReader interface {
	Entry() (name *string, value any)
}

// rejectf notes a mistake, unless decoding was broken off: what is missing then is
// nobody's mistake.
func (d *decoder) rejectf(at connector.Place, format string, args ...any) {
	if d.exhausted {
		return
	}
	d.mistakes = append(d.mistakes, Mistake{Place: at, Message: fmt.Sprintf(format, args...)})
}

// placeOf is where the key of a path stands, or of the nearest path above it that
// the file gives.
func (d *decoder) placeOf(path string) connector.Place {
	at := connector.Place{File: d.src.file}
	for p := path; p != ""; p = parent(p) {
		if found, ok := d.places[p]; ok {
			at = found
			break
		}
	}
	at.Path = path
	return at
}

// rejectKeyf reports a mistake at the key of a path.
func (d *decoder) rejectKeyf(path, format string, args ...any) {
	d.rejectf(d.placeOf(path), format, args...)
}

// value decodes n, which is not null, into v. The tags of the field that v
// belongs to also hold for the items of its lists and mappings.
func (d *decoder) value(n ast.Node, v reflect.Value, tag reflect.StructTag, path string) {
	n, ok := d.resolve(n, path)
	if !ok {
		return
	}
	d.depth++
	defer func() { d.depth-- }()
	if v.Kind() == reflect.Pointer {
		fresh := reflect.New(v.Type().Elem())
		v.Set(fresh)
		v = fresh.Elem()
	}
	p := v.Addr().Interface()
	switch p := p.(type) {
	case *connector.Expr:
		d.expr(n, p, path)
		return
	case *connector.Text:
		d.template(n, p, path)
		return
	case *connector.Tree:
		d.tree(n, p, path)
		return
	case *connector.Secret:
		d.secret(n, p, path)
		return
	case *Target:
		d.target(n, p, path)
		return
	case scalarReader:
		if _, ok := n.(ast.ScalarNode); ok {
			d.short(n, p, path)
			return
		}
	}
	_, textual := p.(encoding.TextUnmarshaler)
	switch kind := v.Kind(); {
	case kind == reflect.Struct && !textual:
		if entries, ok := d.entries(n, path); ok {
			d.structs(entries, path, v)
		}
	case kind == reflect.Slice && !textual && reflect.PointerTo(v.Type().Elem()).Implements(reflect.TypeFor[entryReader]()):
		d.ordered(n, v, tag, path)
	case kind == reflect.Slice && !textual:
		d.list(n, v, tag, path)
	case kind == reflect.Map:
		d.dictionary(n, v, tag, path)
	default:
		d.scalar(n, v, tag, path)
	}
}

// structs decodes a mapping into structs that share its keys. No entries at all
// stand for a mapping that the file does not have: defaults hold and required
// keys are missing.
func (d *decoder) structs(entries []entry, path string, structs ...reflect.Value) {
	before := len(d.mistakes)
	fields := fieldsOf(structs...)
	byKey := map[string]*field{}
	for _, f := range fields {
		f.setDefault()
		for _, key := range f.keys() {
			byKey[key] = f
		}
	}
	for _, e := range entries {
		if f := byKey[e.name]; f != nil {
			d.field(e, f, join(path, e.name))
			continue
		}
		d.src.hide(e.value)
		d.rejectf(d.src.place(e.key, join(path, e.name)), "unknown key%s", suggest(e.name, keysOf(fields)))
	}
	for _, f := range fields {
		d.missing(f, path)
	}
	for _, v := range structs {
		if s, ok := reflect.TypeAssert[connector.Defaulter](v.Addr()); ok {
			s.SetDefaults()
		}
		s, ok := reflect.TypeAssert[connector.Validator](v.Addr())
		if !ok || len(d.mistakes) > before {
			continue
		}
		for _, m := range s.Validate() {
			d.rejectKeyf(join(path, m.Path), "%s", m.Message)
		}
	}
}

// field decodes one entry of a mapping.
func (d *decoder) field(e entry, f *field, path string) {
	d.places[path] = d.src.place(e.key, path)
	if f.given != "" {
		d.src.hide(e.value)
		d.rejectf(d.places[path], "both %s and %s are given: want one", f.given, e.name)
		return
	}
	if isNull(e.value) {
		return
	}
	f.given = e.name
	if f.fromFile() {
		d.secretFile(e.value, f.value, path)
		return
	}
	if len(f.keys()) > 1 {
		d.src.hide(e.value)
	}
	d.value(e.value, f.value, f.tag, path)
}

// missing completes a field that the file does not give, or gives as nothing.
func (d *decoder) missing(f *field, path string) {
	required := f.tag.Get("required") == "true"
	at := join(path, cmp.Or(f.given, f.name))
	switch keys := f.keys(); {
	case f.given != "":
		if required && f.empty() && !d.faulty(at) {
			d.rejectKeyf(at, "empty")
		}
	case required && len(keys) == 2:
		d.rejectKeyf(at, "missing: want %s or %s", keys[0], keys[1])
	case required:
		d.rejectKeyf(at, "missing")
	case f.value.Kind() == reflect.Struct && len(fieldsOf(f.value)) > 0:
		d.structs(nil, at, f.value)
	}
}

// faulty reports whether a mistake was found at path or below it.
func (d *decoder) faulty(path string) bool {
	for _, m := range d.mistakes {
		if within(m.Place.Path, path) {
			return true
		}
	}
	return false
}

func (d *decoder) ordered(n ast.Node, v reflect.Value, tag reflect.StructTag, path string) {
	entries, _ := d.entries(n, path)
	for _, e := range entries {
		at := join(path, e.name)
		d.places[at] = d.src.place(e.key, at)
		item := reflect.New(v.Type().Elem())
		reader, _ := reflect.TypeAssert[entryReader](item) // or the list would not be ordered
		name, value := reader.Entry()
		*name = e.name
		d.value(e.value, reflect.ValueOf(value).Elem(), tag, at)
		v.Set(reflect.Append(v, item.Elem()))
	}
}

func (d *decoder) dictionary(n ast.Node, v reflect.Value, tag reflect.StructTag, path string) {
	entries, _ := d.entries(n, path)
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range entries {
		at := join(path, e.name)
		d.places[at] = d.src.place(e.key, at)
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(e.value, item, tag, at)
		v.SetMapIndex(reflect.ValueOf(e.name).Convert(v.Type().Key()), item)
	}
}

func (d *decoder) list(n ast.Node, v reflect.Value, tag reflect.StructTag, path string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.wrongKind(n, "a list", path)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, item := range seq.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.places[at] = d.src.place(item, at)
		d.value(item, v.Index(i), tag, at)
	}
}
