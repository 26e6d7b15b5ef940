package config

import (
	"reflect"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
)

// expression is one expression of the config and what it may refer to.
type expression struct {
	expr *connector.Expr
	// want is what it must result in, empty for anything.
	want string
	vars []string
	// loop is set if it is evaluated once per item of a list.
	loop *loop
	// topics are those whose events it meets, nil for all.
	topics []string
}

type loop struct {
	list  *connector.Expr
	item  string
	outer *loop
}

// collector walks decoded structs and gathers their expressions.
type collector struct {
	d     *decoder
	found []expression
}

// collect gathers the expressions of the targets: those of the file, and those
// that a connector's defaults added, which stand where the target does.
func (d *decoder) collect(c *Config) []expression {
	k := collector{d: d}
	for i := range c.Targets {
		t := &c.Targets[i]
		at := join("targets", t.Name)
		k.walk(reflect.ValueOf(t).Elem(), expression{topics: t.Topics}, at)
		if t.Spec != nil {
			k.walk(reflect.ValueOf(t.Spec).Elem(), expression{topics: t.Topics}, at)
		}
	}
	return k.found
}

// walk visits the expressions in v; in is what they have in common.
func (k *collector) walk(v reflect.Value, in expression, path string) {
	if v.Kind() == reflect.Pointer {
		if !v.IsNil() {
			k.walk(v.Elem(), in, path)
		}
		return
	}
	if v.CanAddr() {
		switch p := v.Addr().Interface().(type) {
		case *connector.Expr:
			k.add(p, in, path)
			return
		case *connector.Text:
			k.text(p, in, path)
			return
		case *connector.Tree:
			k.tree(p, in, path)
			return
		case entryReader:
			if _, isTarget := p.(*Target); !isTarget {
				name, value := p.Entry()
				k.walk(reflect.ValueOf(value).Elem(), in, join(path, *name))
				return
			}
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		k.fields(v, in, path)
	case reflect.Slice:
		for i := range v.Len() {
			k.walk(v.Index(i), in, path)
		}
	}
}

func (k *collector) fields(v reflect.Value, in expression, path string) {
	var list *connector.Expr
	inner := in
	if l, ok := v.Addr().Interface().(connector.Looper); ok {
		var item string
		if list, item = l.Loop(); list != nil {
			inner.loop = &loop{list: list, item: item, outer: in.loop}
		}
	}
	for _, f := range fieldsOf(v) {
		each := inner
		if e, ok := f.value.Interface().(*connector.Expr); ok && e != nil && e == list {
			each = in
		}
		each.want = f.tag.Get("want")
		each.vars = append(strings.Fields(f.tag.Get("vars")), in.vars...)
		k.walk(f.value, each, join(path, f.name))
	}
}

func (k *collector) tree(t *connector.Tree, in expression, path string) {
	if t.Expr != nil {
		k.add(t.Expr, in, path)
	}
	for _, b := range t.Fields {
		k.tree(b.Tree, in, join(path, b.Name))
	}
}

func (k *collector) text(t *connector.Text, in expression, path string) {
	for _, p := range t.Parts {
		if p.Expr != nil {
			k.add(p.Expr, in, path)
		}
	}
}

// add takes an expression in. One that the file does not hold stands at its target.
func (k *collector) add(e *connector.Expr, in expression, path string) {
	if e.IsZero() {
		return
	}
	if e.Place.File == "" {
		e.Place = k.d.placeOf(path)
	}
	in.expr = e
	k.found = append(k.found, in)
}
