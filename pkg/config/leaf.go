package config

import (
	"reflect"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/mapping"
)

func (d *decoder) scalar(n ast.Node, v reflect.Value, tag reflect.StructTag, path string) {
	text, ok := d.text(n, "a single value", path)
	if !ok {
		return
	}
	if err := setScalar(v, text); err != nil {
		d.rejectf(d.src.place(n, path), "%v", err)
		return
	}
	if message := bounded(v, tag, text); message != "" {
		d.rejectf(d.src.place(n, path), "%s", message)
	}
}

// short decodes the scalar that stands for a whole struct or list.
func (d *decoder) short(n ast.Node, v scalarReader, path string) {
	text, ok := d.text(n, "a single value", path)
	if !ok {
		return
	}
	if s := reflect.ValueOf(v).Elem(); s.Kind() == reflect.Struct {
		for _, f := range fieldsOf(s) {
			f.setDefault()
		}
	}
	if err := v.UnmarshalScalar(text); err != nil {
		d.rejectf(d.src.place(n, path), "%v", err)
	}
}

func (d *decoder) secret(n ast.Node, s *connector.Secret, path string) {
	d.src.hide(n)
	if text, ok := d.text(n, "a single value", path); ok {
		*s = connector.NewSecret(text)
	}
}

// secretFile decodes `x_file: PATH` and `x_files: [PATH, …]`.
func (d *decoder) secretFile(n ast.Node, v reflect.Value, path string) {
	if v.Kind() != reflect.Slice {
		var file string
		d.value(n, reflect.ValueOf(&file).Elem(), "", path)
		v.Set(reflect.ValueOf(connector.SecretFile(file)))
		return
	}
	var files []string
	d.value(n, reflect.ValueOf(&files).Elem(), "", path)
	for _, file := range files {
		v.Set(reflect.Append(v, reflect.ValueOf(connector.SecretFile(file))))
	}
}

func (d *decoder) expr(n ast.Node, e *connector.Expr, path string) {
	const want = "an expression (in quotes if it begins with [ or {)"
	if text, ok := d.text(n, want, path); ok {
		*e = connector.Expr{Source: text, Place: d.src.place(n, path)}
	}
}

func (d *decoder) template(n ast.Node, t *connector.Text, path string) {
	const want = "a text (in quotes if it begins with {)"
	source, ok := d.text(n, want, path)
	if !ok {
		return
	}
	at := d.src.place(n, path)
	text, err := mapping.ParseText(source, at)
	if err != nil {
		d.rejectf(at, "%v", err)
		return
	}
	*t = *text
}

func (d *decoder) tree(n ast.Node, t *connector.Tree, path string) {
	t.Place = d.src.place(n, path)
	if _, ok := n.(*ast.MappingNode); !ok {
		t.Expr = new(connector.Expr)
		d.expr(n, t.Expr, path)
		return
	}
	entries, _ := d.entries(n, path)
	if len(entries) == 1 && entries[0].name == "const" {
		t.Const, t.IsConst = d.literal(entries[0].value, join(path, "const")), true
		return
	}
	t.Fields = make([]connector.Branch, 0, len(entries))
	for _, e := range entries {
		at := join(path, e.name)
		d.places[at] = d.src.place(e.key, at)
		branch := connector.Branch{Name: e.name, Tree: new(connector.Tree)}
		d.value(e.value, reflect.ValueOf(branch.Tree).Elem(), "", at)
		t.Fields = append(t.Fields, branch)
	}
}

// literal decodes a constant of a tree into a value as package event defines them.
func (d *decoder) literal(n ast.Node, path string) any {
	n, ok := d.resolve(n, path)
	if !ok {
		return nil
	}
	d.depth++
	defer func() { d.depth-- }()
	switch v := n.(type) {
	case *ast.NullNode:
		return nil
	case *ast.BoolNode:
		return v.Value
	case *ast.FloatNode:
		return v.Value
	case *ast.IntegerNode:
		var i int64
		d.scalar(n, reflect.ValueOf(&i).Elem(), "", path)
		return i
	case *ast.SequenceNode:
		list := make([]any, len(v.Values))
		for i, item := range v.Values {
			list[i] = d.literal(item, path)
		}
		return list
	case *ast.MappingNode:
		o := new(event.Object)
		entries, _ := d.entries(n, path)
		for _, e := range entries {
			o.Add(e.name, d.literal(e.value, join(path, e.name)))
		}
		return o
	}
	text, _ := d.text(n, "a literal", path)
	return text
}

// target decodes a target: the keys that all have and those of its connector
// share one mapping. Of an unknown connector only the former can be checked.
func (d *decoder) target(n ast.Node, t *Target, path string) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	parts := []reflect.Value{reflect.ValueOf(t).Elem()}
	var kind connector.Kind
	known := false
	if i := slices.IndexFunc(entries, func(e entry) bool { return e.name == "connector" }); i >= 0 {
		kind, known = d.kind(entries[i].value, join(path, "connector"))
	}
	if known {
		t.Spec = kind.Config()
		parts = append(parts, reflect.ValueOf(t.Spec).Elem())
	} else {
		common := keysOf(fieldsOf(parts...))
		entries = slices.DeleteFunc(entries, func(e entry) bool { return !slices.Contains(common, e.name) })
	}
	d.structs(entries, path, parts...)
	if !known {
		return
	}
	if b, ok := t.Spec.(connector.Batcher); ok {
		kind.BatchSize, kind.BatchLinger = b.Batches()
	}
	if t.Batch.Size > 1 && kind.BatchSize <= 1 {
		d.rejectKeyf(join(path, "batch.size"), "connector %s takes no batches", t.Connector)
	}
	if t.Batch.Size == 0 {
		t.Batch.Size = max(kind.BatchSize, 1)
	}
	if t.Batch.Linger == 0 {
		t.Batch.Linger = kind.BatchLinger
	}
}
