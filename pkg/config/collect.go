package config

import (
	"reflect"
	"slices"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/mapping"
)

// expression is one expression of the config, and what it may refer to.
type expression struct {
	expr *connector.Expr
	decl mapping.Decl
	// topics are those whose events it meets, nil for all.
	topics []string
}

// collector walks decoded structs and gathers their expressions.
type collector struct {
	d       *decoder
	lookups mapping.Lookups
	found   []expression
}

// collect gathers the expressions of the file, and those that a connector's
// defaults added, which stand where the target does.
func (d *decoder) collect(c *Config) []expression {
	k := collector{d: d, lookups: c.Lookups}
	k.event(&c.Event, c.Kafka.Topics)
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

// event gathers how events are read. An expression does not meet the topics that
// have their own in its stead.
func (k *collector) event(c *mapping.EventConfig, topics []string) {
	own := map[string][]string{}
	for i := range c.Topics {
		t := &c.Topics[i]
		at := "event.topics." + t.Name
		k.walk(reflect.ValueOf(&t.Value), expression{topics: []string{t.Name}}, at)
		for _, f := range fieldsOf(reflect.ValueOf(&t.Value).Elem()) {
			if !f.empty() {
				own[f.name] = append(own[f.name], t.Name)
			}
		}
	}
	for _, f := range fieldsOf(reflect.ValueOf(c).Elem()) {
		if _, ok := reflect.TypeAssert[*connector.Expr](f.value); !ok {
			continue
		}
		in := expression{decl: mapping.Decl{Want: f.tag.Get("want")}, topics: []string{}}
		for _, topic := range topics {
			if !slices.Contains(own[f.name], topic) {
				in.topics = append(in.topics, topic)
			}
		}
		k.walk(f.value, in, join("event", f.name))
	}
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
	if v.Kind() == reflect.Struct {
		k.fields(v, in, path)
		return
	}
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			k.walk(v.Index(i), in, path)
		}
	}
}

func (k *collector) fields(v reflect.Value, in expression, path string) {
	var list *connector.Expr
	inner := in
	if l, ok := reflect.TypeAssert[connector.Looper](v.Addr()); ok {
		var item string
		if list, item = l.Loop(); list != nil {
			inner.decl.Loop = &mapping.Loop{List: list, Item: item, Outer: in.decl.Loop}
		}
	}
	for _, f := range fieldsOf(v) {
		each := inner
		if e, ok := reflect.TypeAssert[*connector.Expr](f.value); ok && e != nil && e == list {
			each = in
		}
		each.decl.Want = f.tag.Get("want")
		each.decl.Vars = append(strings.Fields(f.tag.Get("vars")), in.decl.Vars...)
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
	in.expr, in.decl.Lookups = e, k.lookups
	k.found = append(k.found, in)
}
